use std::future::pending;

use axum::routing::get;
use axum::{Extension, Router};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use super::support::{errors, read_to_end};
use crate::{ConnectionInfo, Dialect, HttpLimits, serve};

#[tokio::test]
async fn unix_socket_serves_a_dialect_and_identifies_its_peer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let peer = async |Extension(connection): Extension<ConnectionInfo>| {
        assert!(connection.peer().host().is_loopback());
        connection.peer().to_string()
    };
    let dialect = Dialect::new(Router::new().route("/peer", get(peer)), errors);
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(serve(listener, [dialect], HttpLimits::default(), pending()));

    let mut stream = UnixStream::connect(&path).await.unwrap();
    let own = stream.peer_cred().unwrap();
    stream.write_all(b"GET /peer HTTP/1.0\r\n\r\n").await.unwrap();
    let response = read_to_end(stream).await;
    assert!(response.starts_with("HTTP/1.0 200 OK"), "{response}");
    let pid = std::process::id();
    assert!(response.ends_with(&format!("unix:uid={},pid={pid}", own.uid())), "{response}");
    server.abort();
}
