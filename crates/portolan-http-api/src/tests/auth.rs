use std::net::SocketAddr;

use axum::body::Body;
use http_body_util::BodyExt;
use portolan_http::{ConnectionInfo, HttpLimits, Peer};
use portolan_metrics::Metrics;
use portolan_registry::{RegistryConfig, open};
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::support::{ApiResponse, Server, api};
use crate::Api;

#[tokio::test]
async fn guarded_routes_require_the_token() {
    let server = Server::with(|api| api.token(Some("secret"))).await;
    let with = |value: &'static str, path: &'static str| {
        let request = server.request(Method::GET, path).header("authorization", value);
        async { ApiResponse::read(request).await }
    };
    for path in ["/api/v1/services", "/api/v1/watch", "/metrics", "/api/v1/services/x"] {
        let refused = server.get(path).await;
        let problem = refused.problem(401, "no-token");
        assert!(problem["detail"].as_str().unwrap().contains("PORTOLAN_TOKEN"));
        assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"portolan\"");
        for other in ["Basic c2VjcmV0", "Bearer", "Bearer ", "secret"] {
            with(other, path).await.problem(401, "no-token");
        }
        for wrong in ["Bearer secre", "Bearer secret2", "bearer Secret"] {
            with(wrong, path).await.problem(403, "wrong-token");
        }
    }
    assert_eq!(with("Bearer secret", "/api/v1/services").await.status, 200);
    assert_eq!(with("bearer  secret", "/metrics").await.status, 200);
    for open in ["/healthz", "/openapi.json"] {
        assert_eq!(server.get(open).await.status, 200);
    }
}

#[tokio::test]
async fn empty_token_denies_everyone() {
    let server = Server::with(|api| api.token(Some(""))).await;
    server.get("/api/v1/services").await.problem(401, "no-token");
    let request = server.request(Method::GET, "/metrics").header("authorization", "Bearer ");
    ApiResponse::read(request).await.problem(401, "no-token");
}

/// Sends a request as if from this peer, without a network.
async fn post_from(peer: &str, path: &str, body: &Value) -> (u16, Value) {
    let (writer, registry) = open(&RegistryConfig::default(), Metrics::new()).unwrap();
    let writer = tokio::spawn(writer.run(std::future::pending()));
    let limits = HttpLimits::default();
    let router = Api::new(registry, Metrics::new()).dialect().into_router(&limits);
    let local: SocketAddr = "192.0.2.1:7000".parse().unwrap();
    let peer = Peer::Tcp { remote: peer.parse().unwrap(), local: Some(local) };
    let request = http::Request::post(path)
        .header("host", "192.0.2.1:7000")
        .header("content-type", "application/json")
        .extension(ConnectionInfo::new(peer, limits, Default::default()))
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    writer.abort();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn loopback_host_from_another_machine_is_rejected() {
    for peer in ["127.0.0.1:5000", "[::1]:5000", "192.0.2.1:5000"] {
        assert_eq!(post_from(peer, "/api/v1/services", &api(1)).await.0, 201, "{peer}");
    }
    let (status, problem) = post_from("192.0.2.9:5000", "/api/v1/services", &api(1)).await;
    assert_eq!((status, &problem["pointer"]), (422, &json!("/host")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("192.0.2.9") && detail.contains("address at which other machines"),
        "{detail}"
    );

    let batch = json!({"operations": [{"op": "register", "service": api(1)}]});
    let (status, response) = post_from("192.0.2.9:5000", "/api/v1/batch", &batch).await;
    assert_eq!(status, 200);
    assert_eq!(response["results"][0]["problem"]["pointer"], "/operations/0/service/host");
    let remote = json!({"name": "api", "host": "192.0.2.9", "port": 1});
    assert_eq!(post_from("192.0.2.9:5000", "/api/v1/services", &remote).await.0, 201);
}
