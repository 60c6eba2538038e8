use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::get;
use http_body_util::BodyExt;

use super::support::plain;
use crate::dialect::Dispatch;
use crate::{ConnectionInfo, Dialect, HttpLimits, Peer, RequestError};

/// A dialect below `/v2` whose errors are in angle brackets.
fn other() -> Dialect {
    let panicking = get(async || -> &'static str { panic!("the inner state is 42") });
    let errors = |error: &RequestError| (error.status(), format!("<{error}>")).into_response();
    Dialect::new(Router::new().route("/v2/panic", panicking), errors).prefix("/v2")
}

async fn send(dispatch: &Dispatch, method: &str, path: &str) -> (u16, String) {
    let peer = Peer::Unix { uid: 0, pid: None };
    let info = ConnectionInfo::new(peer, HttpLimits::default(), Default::default());
    let request =
        Request::builder().method(method).uri(path).header("host", "localhost").extension(info);
    let request = request.body(Body::empty()).unwrap();
    let response = dispatch.respond(request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn longest_prefix_selects_the_dialect_and_its_error_format() {
    let dispatch = Dispatch::new(&[plain(), other()], &HttpLimits::default());
    for (method, path, status, body) in [
        ("GET", "/ping", 200, "pong"),
        ("GET", "/v2", 404, "<no route matches the path /v2>"),
        ("GET", "/v2/ping", 404, "<no route matches the path /v2/ping>"),
        ("GET", "/v22", 404, "plain: no route matches the path /v22"),
        ("PUT", "/ping", 405, "plain: the route /ping does not support the method PUT"),
        ("PUT", "/v2/panic", 405, "<the route /v2/panic does not support the method PUT>"),
        ("GET", "/v2/panic", 500, "<the server failed to handle the request because of a bug>"),
    ] {
        assert_eq!(send(&dispatch, method, path).await, (status, body.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn overload_response_is_worded_by_the_dialect_of_the_path() {
    let error = RequestError::Overloaded { limit: 10_000 };
    let dispatch = Dispatch::rejecting(&[plain(), other()], &HttpLimits::default(), &error);
    let text = "the limit of 10000 connections is reached";
    assert_eq!(send(&dispatch, "GET", "/ping").await, (503, format!("plain: {text}")));
    assert_eq!(send(&dispatch, "GET", "/v2/x").await, (503, format!("<{text}>")));
}

#[tokio::test]
async fn path_without_a_dialect_is_answered_with_an_empty_404() {
    let dispatch = Dispatch::new(&[other()], &HttpLimits::default());
    assert_eq!(send(&dispatch, "GET", "/ping").await, (404, String::new()));
}
