use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{SHORT, Server, TEST_TIMEOUT, read_to_end};
use crate::HttpLimits;

fn head(length: usize) -> String {
    format!("POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn body_of_ten_megabytes_is_rejected_and_the_response_arrives() {
    let server = Server::start(HttpLimits::default()).await;
    let body = vec![b' '; 10_000_000];
    let url = format!("http://{}/length", server.address);
    let post = |body: reqwest::Body| reqwest::Client::new().post(&url).body(body).send();
    let announced = post(body.clone().into()).await.unwrap();
    assert_eq!(
        (announced.status().as_u16(), &announced.headers()["connection"]),
        (413, &"close".parse().unwrap())
    );
    assert!(announced.text().await.unwrap().contains("1048576 bytes"));
    // Chunked, so that only reading tells its length.
    let chunks: Vec<_> =
        body.chunks(100_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    assert_eq!(post(chunked).await.unwrap().status(), 413);
    let small = post("four".into()).await.unwrap();
    assert_eq!(small.text().await.unwrap(), "4", "the server goes on");
}

#[tokio::test]
async fn client_that_reads_only_after_sending_everything_gets_the_response() {
    let server = Server::start(HttpLimits::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(head(10_000_000).as_bytes()).await.unwrap();
    for _ in 0..100 {
        stream.write_all(&[b' '; 100_000]).await.unwrap();
    }
    let response = read_to_end(&mut stream).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    assert!(response.contains("plain: the body is larger"), "{response}");
}

#[tokio::test]
async fn incomplete_body_is_answered_with_400() {
    let server = Server::start(HttpLimits::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(format!("{}{{\"name\": \"a", head(100)).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let response = read_to_end(&mut stream).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.contains("plain: the body is incomplete"), "{response}");
}

#[tokio::test]
async fn body_that_never_arrives_is_answered_with_408() {
    let server = Server::start(HttpLimits { body: SHORT, ..HttpLimits::default() }).await;
    let mut stream = server.connect().await;
    stream.write_all(format!("{}{{\"name\"", head(100)).as_bytes()).await.unwrap();
    let response = read_to_end(&mut stream).await;
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.contains("plain: the body did not arrive within 200ms"), "{response}");
}

#[tokio::test]
async fn slow_head_is_cut_off_while_others_are_served() {
    let server = Server::start(HttpLimits { head: SHORT, ..HttpLimits::default() }).await;
    let (mut slow, idle) = (server.connect().await, server.connect().await);
    slow.write_all(b"GET /ping HTTP/1.1\r\nx: ").await.unwrap();
    assert_eq!(server.ping().await.status(), 200);
    let send_bytewise = async {
        // Ends only when the server closes the connection.
        while slow.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    timeout(TEST_TIMEOUT, send_bytewise).await.expect("the connection is still open");
    assert_eq!(read_to_end(idle).await, "");
}

#[tokio::test]
async fn slow_request_is_answered_with_503() {
    let server = Server::start(HttpLimits { request: SHORT, ..HttpLimits::default() }).await;
    let mut stream = server.connect().await;
    stream.write_all(head(100).as_bytes()).await.unwrap();
    let response = read_to_end(&mut stream).await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("retry-after: 1"), "{response}");
    assert!(response.contains("plain: the request was not handled within 200ms"), "{response}");
}

#[tokio::test]
async fn connection_that_ends_because_a_body_is_unread_says_so() {
    let server = Server::start(HttpLimits::default()).await;
    for (request, status) in
        [("PATCH /length", "405"), ("POST /nowhere", "404"), ("GET /ping", "200")]
    {
        let mut stream = server.connect().await;
        let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let response = read_to_end(&mut stream).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{response}");
        assert!(response.contains("connection: close"), "{response}");
    }
    // A body that was read, or none, keeps the connection.
    let mut stream = server.connect().await;
    for request in [
        "POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}",
        "GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let responses = read_to_end(&mut stream).await;
    assert_eq!(responses.matches("HTTP/1.1 ").count(), 3, "{responses}");
}

#[tokio::test]
async fn invalid_head_closes_only_its_own_connection() {
    let server = Server::start(HttpLimits::default()).await;
    let long = vec![b'x'; 200_000];
    for (invalid, status) in [
        ([b"GET / HTTP/1.1\r\nx: ", &long[..]].concat(), "431"),
        ([b"GET /", &long[..], b" HTTP/1.1\r\n\r\n"].concat(), "431"),
        (long.clone(), "4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\xff\r\n\r\n".to_vec(), "400"),
        (b"GET\r\n\r\n".to_vec(), "400"),
        (b"PUT / HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_vec(), "400"),
    ] {
        let mut stream = server.connect().await;
        // The server may close while this is still being written.
        drop(stream.write_all(&invalid).await);
        let response = read_to_end(&mut stream).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{response}");
        assert!(response.contains("connection: close"), "{response}");
    }
    assert_eq!(server.ping().await.status(), 200);
}

#[tokio::test]
async fn connection_beyond_the_limit_is_answered_with_503() {
    let server = Server::start(HttpLimits { connections: 2, ..HttpLimits::default() }).await;
    let mut admitted = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        let both = b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\nGET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(both).await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        admitted.push(stream);
    }
    let rejected = async {
        loop {
            let response = server.ping().await;
            if response.status() == 503 {
                return response;
            }
        }
    };
    // The second request of each arrives at about the same time.
    let rejected =
        timeout(TEST_TIMEOUT, rejected).await.expect("requests in progress are not given up");
    assert_eq!(
        (rejected.status().as_u16(), rejected.headers()["retry-after"].as_bytes()),
        (503, &b"1"[..])
    );
    assert_eq!(rejected.text().await.unwrap(), "plain: the limit of 2 connections is reached");
    drop(admitted);
    let freed = async {
        while server.ping().await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(TEST_TIMEOUT, freed).await.expect("the permits are released");
}

#[tokio::test]
async fn connections_without_a_whole_request_make_room() {
    let server = Server::start(HttpLimits { connections: 3, ..HttpLimits::default() }).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0]).await.unwrap();
    for begin in ["", "GET /ping HTTP/1.1\r\nx: ", &head(100)] {
        let (mut one, mut two) = (server.connect().await, server.connect().await);
        one.write_all(begin.as_bytes()).await.unwrap();
        two.write_all(begin.as_bytes()).await.unwrap();
        assert_eq!(server.ping().await.status(), 200);
        assert_eq!(read_to_end(&mut one).await, "", "the one that has waited longest");
        assert!(timeout(SHORT, two.read_u8()).await.is_err(), "the other one stays");
    }
    idle.write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_to_end(idle).await.matches("200 OK").count(), 2, "and so does the idle one");
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_cuts_stuck_ones() {
    let mut server = Server::start(HttpLimits { drain: SHORT, ..HttpLimits::default() }).await;
    let (idle, mut stuck) = (server.connect().await, server.connect().await);
    stuck.write_all(head(100).as_bytes()).await.unwrap();
    // Answered, so the server has accepted all three connections.
    assert_eq!(server.ping().await.status(), 200);
    server.stop().await;
    assert_eq!(read_to_end(idle).await, "");
    let mut bytes = Vec::new();
    timeout(TEST_TIMEOUT, stuck.read_to_end(&mut bytes))
        .await
        .expect("not closed")
        .unwrap_or_default();
    assert!(TcpStream::connect(server.address).await.is_err(), "no new connections");
}

#[tokio::test]
async fn shutdown_lets_a_request_in_progress_finish() {
    let mut server = Server::start(HttpLimits::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(head(4).as_bytes()).await.unwrap();
    assert_eq!(server.ping().await.status(), 200);
    let finish = async {
        tokio::task::yield_now().await;
        stream.write_all(b"four").await.unwrap();
        read_to_end(&mut stream).await
    };
    let ((), response) = tokio::join!(server.stop(), finish);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(
        response.contains("connection: close") && response.ends_with("\r\n\r\n4"),
        "{response}"
    );
}
