//! Snapshots of every problem document: each with its request, so that place and text are reviewed
//! together.

use std::time::Duration;

use insta::assert_json_snapshot;
use portolan_core::{Host, Incarnation, InvalidRegistration};
use portolan_http::{LimitedResource, RequestError};
use portolan_registry::RegistryError;
use reqwest::Method;
use serde_json::json;

use super::support::{ApiResponse, Server, api};
use crate::problem::Problem;

const JSON: &str = "application/json";

/// Sends a registration with this content type and body.
async fn post(server: &Server, kind: &str, body: impl Into<reqwest::Body>) -> ApiResponse {
    let request = server.request(Method::POST, "/api/v1/services").header("content-type", kind);
    ApiResponse::read(request.body(body)).await
}

#[test]
fn request_errors() {
    let limit = Duration::from_secs(10);
    let documents: Vec<_> = [
        RequestError::Unauthorized,
        RequestError::Forbidden,
        RequestError::InvalidHost { problem: "no Host header" },
        RequestError::Misdirected { host: "\"evil.example\"".into() },
        RequestError::ForeignOrigin { origin: "\"http://evil.example\"".into() },
        RequestError::BodyTooLarge { limit: 1_048_576 },
        RequestError::BodyTimeout { limit },
        RequestError::BodyIncomplete { reason: "connection closed".into() },
        RequestError::Panicked,
        RequestError::Timeout { limit },
        RequestError::Overloaded { limit: 10_000 },
        RequestError::TooManyStreams { limit: 8_000 },
        RequestError::TooMany { what: LimitedResource::Streams, limit: 500, retry_after: 5 },
        RequestError::NoMemory,
    ]
    .iter()
    .map(Problem::from)
    .collect();
    assert_json_snapshot!(documents);
}

#[test]
fn registry_errors() {
    let id = || "api@10.0.0.1:80".parse().unwrap();
    let (host, peer) = (Host::loopback(), "10.0.0.9".parse().ok());
    let incarnation = Incarnation::new(1);
    let documents: Vec<_> = [
        RegistryError::Unknown { id: id() },
        InvalidRegistration::PortZero.into(),
        RegistryError::Full { limit: 10_000 },
        RegistryError::ClientFull { peer: [10, 0, 0, 9].into(), limit: 5_000 },
        RegistryError::IdentityFull { identity: "payments".to_owned(), limit: 50 },
        RegistryError::BroadcastFull { limit: 5_000 },
        RegistryError::RegisteredByApi { id: id() },
        RegistryError::RegisteredInConsul {
            id: id(),
            service: "postgres".into(),
            node: "db-1".into(),
        },
        RegistryError::RemoteLoopback { member: "host", host, peer },
        RegistryError::AnotherIncarnation {
            id: id(),
            incarnation,
            owner: Some(Incarnation::new(2)),
        },
        RegistryError::Displaced {
            id: id(),
            incarnation,
            successor: "web".parse().unwrap(),
            address: "10.0.0.1:80".into(),
            owner: None,
        },
        RegistryError::OwnedByAnother {
            id: id(),
            owner: "10.0.0.1".parse().ok(),
            owner_address: "10.0.0.1:80".into(),
            peer,
            address: "10.0.0.9:80".into(),
        },
        RegistryError::Busy(Duration::from_secs(5)),
        RegistryError::Unavailable { store: "etcd", reason: "connection refused".into() },
        RegistryError::Closed,
    ]
    .into_iter()
    .map(Problem::from)
    .collect();
    assert_json_snapshot!(documents);
}

#[tokio::test]
async fn invalid_parameters() {
    let server = Server::start().await;
    let mut documents = Vec::new();
    for path in [
        "/services?name=a%20b",
        "/services?name=",
        "/services?health=fine",
        "/services?protocol=tcp&protocol=udp",
        "/services?meta.zone=a&meta.zone=b",
        "/services?meta.=a",
        "/services?meta.scope=a%20b",
        "/services?meta.scope=a&scope=a",
        "/services?scpoe=shop",
        "/watch?revision=latest",
        "/watch?health=passing",
        "/services/a%20b",
        "/services/%ff",
    ] {
        documents.push(server.get(&format!("/api/v1{path}")).await.document(400));
    }
    let many = vec!["a"; 1001].join(",");
    let many = server.get(&format!("/api/v1/services?name={many}")).await;
    many.problem(400, "bad-parameter");
    let last_event_id = server.request(Method::GET, "/api/v1/watch").header("last-event-id", "x");
    documents.push(ApiResponse::read(last_event_id).await.document(400));
    assert_json_snapshot!(documents);
}

#[tokio::test]
async fn invalid_json() {
    let server = Server::start().await;
    let mut documents = Vec::new();
    for body in [
        r#"{"name": "api","#,
        "{\n  \"name\": api\n}",
        "",
        r#"{"name": "api", "host": "h", "port": 1} {}"#,
        "\u{0}\u{1}",
    ] {
        documents.push(post(&server, JSON, body).await.document(400));
    }
    let deep = server.request(Method::POST, "/api/v1/batch").header("content-type", JSON);
    let deep = deep.body(format!("{{\"operations\":{}", "[".repeat(100_000)));
    ApiResponse::read(deep).await.problem(400, "bad-json");
    let bytes = vec![b'"', 0xff, 0xfe, b'"'];
    assert!(post(&server, JSON, bytes).await.status.is_client_error());
    assert_json_snapshot!(documents);
}

#[tokio::test]
async fn invalid_members() {
    let server = Server::start().await;
    let mut documents = Vec::new();
    for body in [
        json!({"name": "api", "host": "h", "port": 0}),
        json!({"name": "api", "host": "h", "port": 70000}),
        json!({"name": "", "host": "h", "port": 1}),
        json!({"name": "api", "host": "0.0.0.0", "port": 1}),
        json!({"name": "api", "host": "h", "port": 1, "ttl": 0}),
        json!({"name": "api", "host": "h", "port": 1, "prot": 1}),
        json!({"name": "api", "host": "h", "port": 1, "metadata": {"a/b~c": 1}}),
        json!({"name": "api", "port": 1}),
    ] {
        documents.push(server.register(body).await.document(422));
    }
    let path = "/api/v1/services/x/health";
    for body in [json!({"status": "fine"}), json!({"status": "passing", "raeson": "x"}), json!({})]
    {
        documents.push(server.send(Method::PUT, path, body).await.document(422));
    }
    // The members in order, without their names.
    documents.push(server.register(json!(["b", "api", null, "h", 1])).await.document(422));
    let array = json!(["passing", ""]);
    documents.push(server.send(Method::PUT, path, array).await.document(422));
    let array = json!([[{"op": "heartbeat", "id": "a"}]]);
    documents.push(server.send(Method::POST, "/api/v1/batch", array).await.document(422));
    let other_id = json!({"id": "b", "name": "api", "host": "h", "port": 1});
    documents.push(server.send(Method::PUT, "/api/v1/services/a", other_id).await.document(422));
    let operations = json!({"operations": [{"op": "dance"}, {"id": "a"}, 7]});
    let batch = server.send(Method::POST, "/api/v1/batch", operations).await;
    documents.push((batch.request.clone(), batch.json()));
    assert!(server.registry.list().is_empty());
    assert_json_snapshot!(documents);
}

#[tokio::test]
async fn other_content_types() {
    let server = Server::start().await;
    let mut documents = Vec::new();
    for kind in ["text/plain; charset=utf-8", "application/x-www-form-urlencoded", ""] {
        documents.push(post(&server, kind, api(1).to_string()).await.document(415));
    }
    assert_json_snapshot!(documents);
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"] {
        assert!(post(&server, kind, api(1).to_string()).await.status.is_success(), "{kind}");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods() {
    let server = Server::start().await;
    let mut documents = Vec::new();
    for path in [
        "/api/v1/service",
        "/api/v1/service/api@h:1",
        "/api/v1/services/x/heartbeet",
        "/v1/catalog/services",
        "/metric",
        "/",
    ] {
        documents.push(server.get(path).await.document(404));
    }
    server.get(&format!("/{}", "a".repeat(20_000))).await.problem(404, "no-such-route");
    for (method, path, allowed) in [
        (Method::DELETE, "/api/v1/services", "GET, HEAD, POST"),
        (Method::POST, "/api/v1/services/x/heartbeat", "PUT"),
        (Method::OPTIONS, "/metrics", "GET, HEAD"),
    ] {
        let response = ApiResponse::read(server.request(method, path)).await;
        assert_eq!(response.header("allow"), allowed);
        documents.push(response.document(405));
    }
    assert_json_snapshot!(documents);
}
