//! Lookups that are answered from prepared bytes.

use std::time::Duration;

use portolan_core::Vantage;
use portolan_http::HttpLimits;
use portolan_registry::{Lookup, RegistryConfig};
use reqwest::Method;
use reqwest::header::DATE;
use serde_json::json;

use tokio::time::sleep;

use super::support::{ApiResponse, Server, api};
use crate::Api;

const LOOKUP: &str = "/api/v1/services?name=api&scope=default&health=unknown,passing";
const QUERY: &str = "name=api&scope=default&health=unknown,passing";

/// A registry whose answers are complete, with an instance.
async fn server() -> Server {
    let server = complete(|api| api).await;
    register(&server, 8080).await;
    server
}

/// A registry whose answers are complete.
async fn complete(change: impl FnOnce(Api) -> Api) -> Server {
    let config =
        RegistryConfig { ttl_default: Duration::from_secs(1), ..RegistryConfig::default() };
    let server = Server::launch(change, HttpLimits::default(), &config).await;
    while server.registry.is_incomplete() {
        sleep(Duration::from_millis(5)).await;
    }
    server
}

async fn register(server: &Server, port: u16) {
    let mut instance = api(port);
    instance["ttl"] = json!(600);
    assert!(server.register(instance).await.status.is_success());
}

fn is_prepared(server: &Server) -> bool {
    let lookup = Lookup { query: QUERY, vantage: Vantage::SameHost };
    server.registry.prepared("api", lookup).is_some()
}

#[tokio::test]
async fn prepared_response_equals_that_of_the_route() {
    let server = server().await;
    let mut route = server.get(LOOKUP).await;
    assert!(is_prepared(&server));
    let mut prepared = server.get(LOOKUP).await;
    assert_eq!(prepared.text, route.text);
    assert_eq!(prepared.status, route.status);
    for response in [&mut route, &mut prepared] {
        assert!(response.headers.remove(DATE).is_some());
    }
    assert_eq!(prepared.headers, route.headers);
    let head = ApiResponse::read(server.request(Method::HEAD, LOOKUP)).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    let known = server.request(Method::GET, LOOKUP).header("if-none-match", route.header("etag"));
    assert_eq!(ApiResponse::read(known).await.status, 304);
}

#[tokio::test]
async fn every_change_of_the_service_is_seen_at_once() {
    let server = server().await;
    let path = "/api/v1/services/api@127.0.0.1:8080";
    let seen = async || server.get(LOOKUP).await.json()["services"].clone();
    let first = seen().await;
    assert!(is_prepared(&server));

    register(&server, 8081).await;
    assert!(!is_prepared(&server));
    assert_eq!(seen().await.as_array().unwrap().len(), 2);

    let beat = server.request(Method::PUT, &format!("{path}/heartbeat"));
    assert_eq!(ApiResponse::read(beat).await.status, 204);
    let renewed = seen().await[0]["last_heartbeat"].clone();
    assert_ne!(renewed, first[0]["last_heartbeat"]);
    assert_eq!(seen().await[0]["last_heartbeat"], renewed);

    let critical = json!({"status": "critical"});
    server.send(Method::PUT, &format!("{path}/health"), critical).await;
    assert_eq!(seen().await.as_array().unwrap().len(), 1);

    for port in [8080, 8081] {
        let path = format!("/api/v1/services/api@127.0.0.1:{port}");
        ApiResponse::read(server.request(Method::DELETE, &path)).await;
    }
    assert_eq!(seen().await, json!([]));
}

#[tokio::test]
async fn requests_that_the_middleware_refuses_get_no_prepared_response() {
    let server = server().await;
    server.get(LOOKUP).await;
    assert!(is_prepared(&server));
    for (header, value, status) in [
        ("host", "evil.example", 421),
        ("origin", "http://evil.example", 403),
        ("sec-fetch-site", "cross-site", 403),
    ] {
        let request = server.request(Method::GET, LOOKUP).header(header, value);
        assert_eq!(ApiResponse::read(request).await.status, status, "{header}");
    }
    // From another host, whose view is another one.
    let request = server.request(Method::GET, LOOKUP).header("x-forwarded-for", "10.0.0.9");
    assert_eq!(ApiResponse::read(request).await.json()["services"], json!([]));
}

#[tokio::test]
async fn prepared_response_requires_the_token() {
    let server = complete(|api| api.token(Some("secret"))).await;
    let get = |token: &str| {
        let request = server.request(Method::GET, LOOKUP);
        ApiResponse::read(request.bearer_auth(token))
    };
    let mut instance = api(8080);
    instance["ttl"] = json!(600);
    let request = server.request(Method::POST, "/api/v1/services").bearer_auth("secret");
    assert_eq!(ApiResponse::read(request.json(&instance)).await.status, 201);
    assert_eq!(get("secret").await.status, 200);
    assert!(is_prepared(&server));
    assert_eq!(get("wrong").await.status, 403);
    assert_eq!(server.get(LOOKUP).await.status, 401);
    assert_eq!(get("secret").await.status, 200);
}
