//! Reports of failed connections: what the registry finds when it asks the instance itself.

use portolan_core::{Change, HealthStatus};
use portolan_registry::{CommandOrigin, Registry, WatchQuery};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;

use futures_util::StreamExt;

use super::support::{ApiResponse, Server, TEST_TIMEOUT};

const CHECK: &str = "/api/v1/services/api-1/check";

/// Registers an instance at this port of this host, with these members as well.
async fn register(server: &Server, port: u16, members: serde_json::Value) {
    let mut registration = json!({"name": "api", "host": "127.0.0.1", "port": port, "ttl": "1h"});
    let members = members.as_object().unwrap().clone();
    registration.as_object_mut().unwrap().extend(members);
    let request = server.request(Method::PUT, "/api/v1/services/api-1").json(&registration);
    assert_eq!(ApiResponse::read(request).await.status, 201);
}

async fn report(server: &Server) {
    let response = ApiResponse::read(server.request(Method::POST, CHECK)).await;
    assert_eq!(response.status, 202, "{response:?}");
}

/// Waits until the outcome is counted.
async fn outcome(server: &Server, outcome: &str) {
    let line = format!("discovery_registry_failure_reports_total{{outcome=\"{outcome}\"}} 1\n");
    let counted = async {
        while !ApiResponse::read(server.request(Method::GET, "/metrics")).await.text.contains(&line)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(TEST_TIMEOUT, counted).await.expect(outcome);
}

fn health(registry: &Registry) -> HealthStatus {
    registry.get(&"api-1".parse().unwrap()).unwrap().health
}

/// A port at which nothing listens, as long as the socket lives: it is bound.
fn closed_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn instance_that_refuses_the_registry_too_is_critical_for_every_watcher() {
    let server = Server::start().await;
    let (_socket, port) = closed_port();
    register(&server, port, json!({})).await;
    let mut events = server.registry.watch(WatchQuery::default());
    let snapshot = timeout(TEST_TIMEOUT, events.next()).await.unwrap().unwrap();
    assert!(matches!(snapshot.change, Change::Snapshot { .. }), "{snapshot:?}");
    report(&server).await;
    let critical = async {
        while let Some(event) = events.next().await {
            if event.change.endpoint().is_some_and(|one| one.health == HealthStatus::Critical) {
                return event.change.clone();
            }
        }
        panic!("the watch has ended");
    };
    let change = timeout(TEST_TIMEOUT, critical).await.unwrap();
    assert!(matches!(change, Change::Health { .. }), "{change:?}");
    outcome(&server, "refused").await;
    let found = ApiResponse::read(server.request(Method::GET, "/api/v1/services/api-1")).await;
    let reason = found.json()["health_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("a caller could not connect"), "{reason}");
}

#[tokio::test]
async fn report_about_an_instance_that_accepts_changes_nothing() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    register(&server, listener.local_addr().unwrap().port(), json!({})).await;
    report(&server).await;
    outcome(&server, "accepted").await;
    assert_eq!(health(&server.registry), HealthStatus::Unknown);
}

#[tokio::test]
async fn refusal_of_one_address_is_not_enough() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    register(&server, port, json!({"addresses": ["127.0.0.2"]})).await;
    report(&server).await;
    outcome(&server, "accepted").await;
    assert_eq!(health(&server.registry), HealthStatus::Unknown);
}

#[tokio::test]
async fn datagrams_are_not_asked_by_tcp() {
    let server = Server::start().await;
    let (_socket, port) = closed_port();
    register(&server, port, json!({"protocol": "udp"})).await;
    report(&server).await;
    outcome(&server, "not_asked").await;
    assert_eq!(health(&server.registry), HealthStatus::Unknown);
}

#[tokio::test]
async fn registry_connects_to_no_host_but_that_which_registered_the_instance() {
    let server = Server::start().await;
    let (_socket, port) = closed_port();
    let registration = json!({"name": "api", "id": "api-1", "host": "127.0.0.1", "port": port});
    let registration = serde_json::from_value(registration).unwrap();
    server.registry.register(registration, CommandOrigin::local()).await.unwrap();
    // This host, as the registrant of an instance elsewhere.
    let elsewhere = json!({"name": "api", "id": "api-1", "host": "192.0.2.7", "port": port});
    let elsewhere = serde_json::from_value(elsewhere).unwrap();
    server.registry.register(elsewhere, CommandOrigin::local()).await.unwrap();
    report(&server).await;
    outcome(&server, "not_asked").await;
    assert_eq!(health(&server.registry), HealthStatus::Unknown);
}

#[tokio::test]
async fn unknown_instance_is_named_and_repeated_reports_are_one() {
    let server = Server::start().await;
    let unknown = ApiResponse::read(server.request(Method::POST, CHECK)).await;
    unknown.problem(404, "unknown-instance");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    register(&server, listener.local_addr().unwrap().port(), json!({})).await;
    let page = async {
        loop {
            report(&server).await;
            let page = ApiResponse::read(server.request(Method::GET, "/metrics")).await.text;
            if page.contains("{outcome=\"repeated\"}") {
                return page;
            }
        }
    };
    timeout(TEST_TIMEOUT, page).await.unwrap();
}
