//! A second API dialect on the same listener: own error format, token in another header.
#![allow(clippy::unwrap_used, reason = "only tests are here")]

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use portolan_http::serve;
use portolan_http::{
    Authenticator, AuthorizeLayer, CredentialSource, Dialect, HttpLimits, RequestError,
};
use portolan_http_api::Api;
use portolan_metrics::Metrics;
use portolan_registry::{RegistryConfig, open};

fn toy() -> Dialect {
    let errors = |error: &RequestError| {
        (error.status(), format!("toy error {}", error.status().as_u16())).into_response()
    };
    let secret = get(async || "treasure").route_layer(AuthorizeLayer::new());
    let panicking = get(async || -> &'static str { panic!("on purpose") });
    let router = Router::new().route("/toy/secret", secret).route("/toy/panic", panicking);
    let source = CredentialSource::Header("x-toy-token".parse().unwrap());
    let authenticator = Authenticator::new(Some("gold")).source(source);
    Dialect::new(router, errors).prefix("/toy").authenticator(authenticator)
}

/// Sends one request with this header to a new server with both dialects.
async fn send(connections: usize, request: &str, header: (&str, &str)) -> String {
    let (_writer, registry) = open(&RegistryConfig::default(), Metrics::new()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (method, path) = request.split_once(' ').unwrap();
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    let request = reqwest::Client::new().request(method.parse().unwrap(), url);
    let dialects = [Api::new(registry, Metrics::new()).token(Some("silver")).dialect(), toy()];
    let limits = HttpLimits { connections, ..HttpLimits::default() };
    tokio::spawn(serve(listener, dialects, limits, std::future::pending()));
    let response = request.header(header.0, header.1).send().await.unwrap();
    response.text().await.unwrap()
}

#[tokio::test]
async fn second_dialect_has_its_own_errors_and_credentials() {
    let (gold, silver) = (("x-toy-token", "gold"), ("authorization", "Bearer silver"));
    for (connections, request, header, body) in [
        (9, "GET /toy/secret", gold, "treasure"),
        (9, "GET /toy/secret", silver, "toy error 401"),
        (9, "GET /toy/secret", ("x-toy-token", "lead"), "toy error 403"),
        (9, "GET /toy/nothing", gold, "toy error 404"),
        (9, "PUT /toy/secret", gold, "toy error 405"),
        (9, "GET /toy/panic", gold, "toy error 500"),
        (0, "GET /toy/secret", gold, "toy error 503"),
        (9, "GET /api/v1/services", silver, r#""services":[]"#),
        (9, "GET /api/v1/services", gold, "urn:portolan:problem:no-token"),
        (9, "GET /nothing", gold, "urn:portolan:problem:no-such-route"),
        (0, "GET /api/v1/services", silver, "urn:portolan:problem:too-many-connections"),
    ] {
        let response = send(connections, request, header).await;
        assert!(response.contains(body), "{request} {header:?}: {response}");
    }
}
