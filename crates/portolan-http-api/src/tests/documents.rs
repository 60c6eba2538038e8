//! Snapshots of every problem document.

use std::time::Duration;

use http::Method;
use insta::assert_json_snapshot;
use portolan_core::InvalidRegistration;
use portolan_http::RequestError;
use portolan_registry::RegistryError;
use serde_json::{Value, json};

use super::support::{ApiResponse, Server};
use crate::problem::Problem;

#[test]
fn documents_of_request_errors() {
    let limit = Duration::from_secs(10);
    let documents: Vec<_> = [
        RequestError::Unauthorized,
        RequestError::Forbidden,
        RequestError::NotFound { path: "/api/v1/service".into() },
        RequestError::NotFound { path: "/".into() },
        RequestError::MethodNotAllowed { method: Method::DELETE, route: "/api/v1/watch".into() },
        RequestError::BodyTooLarge { limit: 1_048_576 },
        RequestError::BodyTimeout { limit },
        RequestError::BodyIncomplete { reason: "connection closed".into() },
        RequestError::Panicked,
        RequestError::Timeout { limit },
        RequestError::Overloaded { limit: 10_000 },
    ]
    .iter()
    .map(Problem::from)
    .collect();
    assert_json_snapshot!(documents);
}

#[test]
fn documents_of_registry_errors() {
    let id = || "api@10.0.0.1:80".parse().unwrap();
    let documents: Vec<_> = [
        RegistryError::Unknown { id: id() },
        InvalidRegistration::PortZero.into(),
        RegistryError::Full { limit: 10_000 },
        RegistryError::BroadcastFull { limit: 5_000 },
        RegistryError::RegisteredByApi { id: id() },
        RegistryError::RemoteLoopback {
            host: "127.0.0.1".parse().unwrap(),
            peer: "10.0.0.9".parse().unwrap(),
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
async fn documents_of_invalid_requests() {
    let server = Server::start().await;
    let mut documents = Vec::new();
    for path in [
        "/services?name=a%20b",
        "/services?health=fine",
        "/services?protocol=tcp&protocol=udp",
        "/services?meta.=a",
        "/services?meta.scope=a&scope=a",
        "/services?scpoe=shop",
        "/watch?health=passing",
        "/watch?revision=latest",
        "/services/a%20b",
        "/services/%ff",
        "/services/unknown",
    ] {
        documents.push(server.get(&format!("/api/v1{path}")).await.json());
    }
    for body in ["{\"name\": \"api\",", "[1]", "{\"port\": 0}", "{\"prot\": 1}"] {
        documents.push(post(&server, "application/json", body).await);
    }
    documents.push(post(&server, "text/plain", "{}").await);
    let other_id = json!({"id": "b", "name": "api", "host": "h", "port": 1});
    let conflict = server.send(Method::PUT, "/api/v1/services/a", other_id).await;
    documents.push(conflict.json());
    let last_id = server.request(Method::GET, "/api/v1/watch").header("last-event-id", "x");
    documents.push(ApiResponse::read(last_id).await.json());
    let operations = json!([
        {"op": "register", "service": {"name": "api", "host": "h", "port": 0}},
        {"op": "heartbeat", "id": "unknown"}, {"op": "dance"}, {"id": "a"}, 7,
    ]);
    let batch = json!({"operations": operations});
    let batch = server.send(Method::POST, "/api/v1/batch", batch).await.json();
    documents.extend(
        batch["results"].as_array().unwrap().iter().map(|result| result["problem"].clone()),
    );
    let many = json!({"operations": vec![json!({}); 1001]});
    documents.push(server.send(Method::POST, "/api/v1/batch", many).await.json());
    assert_json_snapshot!(documents);
}

async fn post(server: &Server, kind: &str, body: &'static str) -> Value {
    let request = server.request(Method::POST, "/api/v1/services").header("content-type", kind);
    ApiResponse::read(request.body(body)).await.json()
}
