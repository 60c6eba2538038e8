use std::collections::BTreeMap;

use portolan_core::{PoolRange, Pools, PortRange};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

/// Returns whether the handshake of the pool succeeds with a server that reads and sends this.
async fn handshake_succeeds(pool: &str, answer: &'static [u8]) -> io::Result<bool> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 1024];
        let length = stream.read(&mut greeting).await.unwrap();
        stream.write_all(answer).await.unwrap();
        greeting[..length].to_vec()
    });
    let mut stream = TcpStream::connect(peer).await.unwrap();
    let succeeds = Handshake::for_pool(Pools::default().get(pool).unwrap())
        .unwrap()
        .succeeds(&mut stream, peer)
        .await;
    drop(stream);
    assert!(!server.await.unwrap().is_empty());
    succeeds
}

#[tokio::test]
async fn valid_answers_are_accepted() {
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    for (pool, answer) in [
        ("database", &b"N"[..]),
        ("database", b"S"),
        ("cache", b"+PONG\r\n"),
        ("cache", b"-NOAUTH Authentication required.\r\n"),
        ("cache", b"-LOADING Redis is loading the dataset in memory\r\n"),
        ("api", b"HTTP/1.1 404 Not Found\r\n\r\n"),
        ("metrics", b"HTTP/1.0 200 OK\r\n\r\n"),
        ("websocket", b"HTTP/1.1 426 Upgrade Required\r\n\r\n"),
        ("grpc", settings),
        ("grpc", b"\0\0\0\x04\0\0\0\0\0"),
    ] {
        assert!(handshake_succeeds(pool, answer).await.unwrap(), "{pool}: {answer:?}");
    }
}

#[tokio::test]
async fn answers_of_other_protocols_are_rejected() {
    let acknowledged = b"\0\0\0\x04\x01\0\0\0\0";
    let odd = b"\0\0\x07\x04\0\0\0\0\0";
    let long = b"\x01\0\0\x04\0\0\0\0\0";
    let answers: [&[u8]; 7] = [
        b"",
        b"E",
        b"-ERR unknown command\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        acknowledged,
        odd,
        long,
    ];
    for pool in ["cache", "api", "grpc"] {
        for answer in answers {
            assert!(!handshake_succeeds(pool, answer).await.unwrap_or(false), "{pool}: {answer:?}");
        }
    }
    for answer in [&b""[..], b"E", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR\r\n"] {
        assert!(
            !handshake_succeeds("database", answer).await.unwrap_or(false),
            "database: {answer:?}"
        );
    }
}

#[test]
fn every_built_in_pool_has_a_handshake() {
    for pool in Pools::default().iter() {
        assert!(Handshake::for_pool(pool).is_some(), "{}", pool.name);
    }
    let mail = PoolRange::new(PortRange::new(2500, 2510).unwrap());
    let pools = Pools::new(&BTreeMap::from([("mail".to_owned(), mail)]), &BTreeMap::new());
    assert!(Handshake::for_pool(pools.get("mail").unwrap()).is_none());
}
