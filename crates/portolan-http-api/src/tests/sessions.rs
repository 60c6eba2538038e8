//! Sessions of agents: what the end of one does.

use portolan_registry::{Registry, WatchQuery};
use reqwest::{Method, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;

use futures_util::StreamExt;

use super::support::{ApiResponse, Server, TEST_TIMEOUT};

const SESSION: &str = "/api/v1/services/api-1/session?incarnation=1";

/// Registers an instance at the listener.
async fn register(server: &Server, listener: &TcpListener) {
    let port = listener.local_addr().unwrap().port();
    let incarnation = "0000000000000001";
    let registration = json!({"name": "api", "host": "127.0.0.1", "port": port, "ttl": "1h", "incarnation": incarnation});
    let request = server.request(Method::PUT, "/api/v1/services/api-1").json(&registration);
    assert_eq!(ApiResponse::read(request).await.status, 201);
}

/// Opens a session, and waits until the server has asked the address of the instance.
async fn session(server: &Server, listener: &TcpListener) -> Response {
    let response = server.request(Method::POST, SESSION).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let (asked, _) = timeout(TEST_TIMEOUT, listener.accept()).await.unwrap().unwrap();
    drop(asked);
    let metrics = async {
        let line = "discovery_registry_sessions 1\n";
        while !ApiResponse::read(server.request(Method::GET, "/metrics")).await.text.contains(line)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(TEST_TIMEOUT, metrics).await.unwrap();
    response
}

async fn wait_until_gone(registry: &Registry) {
    let mut events = registry.watch(WatchQuery::default());
    let gone = async { while !registry.list().is_empty() && events.next().await.is_some() {} };
    timeout(TEST_TIMEOUT, gone).await.unwrap();
}

#[tokio::test]
async fn instance_whose_session_ended_and_whose_address_refuses_is_gone() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    register(&server, &listener).await;
    let session = session(&server, &listener).await;
    drop(listener);
    drop(session);
    wait_until_gone(&server.registry).await;
}

#[tokio::test]
async fn session_ends_with_the_registration() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    register(&server, &listener).await;
    let mut session = session(&server, &listener).await;
    let request = server.request(Method::DELETE, "/api/v1/services/api-1?incarnation=1");
    assert_eq!(ApiResponse::read(request).await.status, 204);
    while timeout(TEST_TIMEOUT, session.chunk()).await.unwrap().unwrap().is_some() {}
}

/// Reads on until this text comes.
async fn wait_for(session: &mut Response, expected: &str) {
    let mut text = String::new();
    while !text.contains(expected) {
        let chunk = timeout(TEST_TIMEOUT, session.chunk()).await.unwrap().unwrap();
        let chunk = chunk.unwrap_or_else(|| panic!("{expected} is missing: {text}"));
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn session_tells_each_version_of_the_settings_of_its_service() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    register(&server, &listener).await;
    let set = |name: &str, workers: u8| {
        let path = format!("/api/v1/settings/{name}");
        let request = server.request(Method::PUT, &path).json(&json!({"workers": workers}));
        async { assert_eq!(ApiResponse::read(request).await.status, 200) }
    };
    set("api", 1).await;
    let mut session = session(&server, &listener).await;
    wait_for(&mut session, "event: settings\nid: 1\ndata: {\"version\":1}\n\n").await;
    set("other", 1).await;
    set("api", 2).await;
    wait_for(&mut session, "{\"version\":2}").await;
}

#[tokio::test]
async fn session_of_an_unknown_instance_or_of_another_run_is_refused() {
    let server = Server::start().await;
    let unknown = ApiResponse::read(server.request(Method::POST, SESSION)).await;
    unknown.problem(404, "unknown-instance");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    register(&server, &listener).await;
    let other = SESSION.replace("=1", "=2");
    ApiResponse::read(server.request(Method::POST, &other))
        .await
        .problem(409, "another-incarnation");
}
