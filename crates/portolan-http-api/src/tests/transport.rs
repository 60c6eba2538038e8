use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{Answer, SOON, Server, api};
use crate::Limits;

const BRIEFLY: Duration = Duration::from_millis(200);

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Everything that comes until the other side closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("not closed").unwrap();
    String::from_utf8(bytes).unwrap()
}

fn head(length: usize) -> String {
    format!(
        "POST /api/v1/services HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused_and_the_answer_arrives() {
    let server = Server::start().await;
    let body = vec![b' '; 10_000_000];
    let request = |body: reqwest::Body| {
        let request = server.request(Method::POST, "/api/v1/services");
        request.header("content-type", "application/json").body(body).send()
    };
    let announced = Answer::of(request(body.clone().into()).await.unwrap()).await;
    let problem = announced.problem(413, "body-too-large");
    assert_eq!(announced.header("connection"), "close");
    assert!(problem["detail"].as_str().unwrap().contains("1048576 bytes"), "{problem}");
    // In pieces, so that only reading tells its length.
    let pieces = body.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let pieces: Vec<_> = pieces.collect();
    let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    Answer::of(request(streamed).await.unwrap()).await.problem(413, "body-too-large");
    assert_eq!(server.register(api(1)).await.status, 201, "the server goes on");
}

#[tokio::test]
async fn a_client_that_reads_only_after_it_has_sent_everything_still_gets_the_answer() {
    let server = Server::start().await;
    let mut stream = connect(&server).await;
    stream.write_all(head(10_000_000).as_bytes()).await.unwrap();
    for _ in 0..100 {
        stream.write_all(&[b' '; 100_000]).await.unwrap();
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("urn:portolan:problem:body-too-large"), "{answer}");
}

#[tokio::test]
async fn a_body_that_ends_early_is_told_so() {
    let server = Server::start().await;
    let mut stream = connect(&server).await;
    stream.write_all(format!("{}{{\"name\": \"a", head(100)).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("body-cut-short"), "{answer}");
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for_forever() {
    let server = Server::limited(Limits { body: BRIEFLY, ..Limits::default() }).await;
    let mut stream = connect(&server).await;
    stream.write_all(format!("{}{{\"name\"", head(100)).as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("body-too-slow"), "{answer}");
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off_while_others_are_served() {
    let server = Server::limited(Limits { head: BRIEFLY, ..Limits::default() }).await;
    let mut slow = connect(&server).await;
    let mut idle = connect(&server).await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.unwrap();
    assert_eq!(server.get("/healthz").await.status, 200);
    let dribble = async {
        // Never ends by itself: the server has to.
        while slow.write_all(b"x").await.is_ok() {
            tokio::time::sleep(BRIEFLY / 10).await;
        }
    };
    timeout(SOON, dribble).await.expect("still listened to");
    assert_eq!(read_to_end(&mut idle).await, "");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered() {
    let server = Server::limited(Limits { request: BRIEFLY, ..Limits::default() }).await;
    let mut stream = connect(&server).await;
    stream.write_all(head(100).as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too-slow"), "{answer}");
}

#[tokio::test]
async fn a_head_without_end_or_sense_closes_the_connection_only() {
    let server = Server::start().await;
    let long = vec![b'x'; 200_000];
    for (nonsense, status) in [
        ([b"GET / HTTP/1.1\r\nx: ", &long[..]].concat(), "431"),
        ([b"GET /", &long[..], b" HTTP/1.1\r\n\r\n"].concat(), "431"),
        (long.clone(), "4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\xff\r\n\r\n".to_vec(), "400"),
        (b"GET\r\n\r\n".to_vec(), "400"),
        (b"PUT / HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_vec(), "400"),
    ] {
        let mut stream = connect(&server).await;
        // The server may close while this is still being written.
        drop(stream.write_all(&nonsense).await);
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn who_finds_no_seat_is_told_so() {
    let server = Server::limited(Limits { connections: 2, ..Limits::default() }).await;
    let mut seated = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&server).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        seated.push(stream);
    }
    let refused = server.get("/healthz").await;
    let problem = refused.problem(503, "too-many-connections");
    assert!(problem["detail"].as_str().unwrap().contains("all 2 connections"), "{problem}");
    assert_eq!(refused.header("retry-after"), "1");
    drop(seated);
    let freed = async {
        while server.get("/healthz").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, freed).await.expect("the seats are free again");
}

#[tokio::test]
async fn at_shutdown_idle_connections_are_closed_and_stuck_ones_cut() {
    let mut server = Server::limited(Limits { drain: BRIEFLY, ..Limits::default() }).await;
    let mut idle = connect(&server).await;
    let mut stuck = connect(&server).await;
    stuck.write_all(head(100).as_bytes()).await.unwrap();
    // Answered, so the server has let them all in.
    assert_eq!(server.get("/healthz").await.status, 200);
    server.stop().await;
    assert_eq!(read_to_end(&mut idle).await, "");
    let mut bytes = Vec::new();
    timeout(SOON, stuck.read_to_end(&mut bytes)).await.expect("not closed").unwrap_or_default();
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody is let in any more");
}

#[tokio::test]
async fn a_request_under_way_at_shutdown_is_finished() {
    let mut server = Server::start().await;
    let mut stream = connect(&server).await;
    let body = api(1).to_string();
    stream.write_all(head(body.len()).as_bytes()).await.unwrap();
    assert_eq!(server.get("/healthz").await.status, 200);
    let finish = async {
        tokio::task::yield_now().await;
        stream.write_all(body.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    };
    let ((), answer) = tokio::join!(server.stop(), finish);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}
