//! The access log. In a process of its own, because `tracing` caches for the whole process which
//! events nobody records, and other tests record none.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::get;
use http::Request;
use portolan_http::{ACCESS_LOG, ConnectionInfo, Dialect, HttpLimits, Peer, RequestError};
use tower::ServiceExt;
use tracing::Level;

#[tokio::test]
async fn access_log_has_one_event_per_response_and_no_query() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(file.reopen().unwrap());
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(writer);
    let _guard = tracing::subscriber::set_default(subscriber.with_max_level(Level::DEBUG).finish());

    let errors = |error: &RequestError| error.status().into_response();
    let dialect = Dialect::new(Router::new().route("/ping", get(async || "pong")), errors);
    let router = dialect.into_router(&HttpLimits::default());
    let peer = Peer::Unix { uid: 7, pid: None };
    let info = ConnectionInfo::new(peer, HttpLimits::default(), Default::default());
    for uri in ["/ping?token=secret", "/pong"] {
        let request = Request::get(uri)
            .header("host", "localhost")
            .extension(info.clone())
            .body(Body::empty())
            .unwrap();
        router.clone().oneshot(request).await.unwrap();
    }

    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<_> = lines.filter(|line| line["target"] == ACCESS_LOG).collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, (path, status)) in lines.iter().zip([("/ping", 200), ("/pong", 404)]) {
        assert_eq!((&line["path"], &line["status"]), (&path.into(), &status.into()));
        assert_eq!((&line["peer"], &line["method"]), (&"unix:uid=7".into(), &"GET".into()));
        assert!(line["duration"].is_string(), "{line}");
    }
    assert!(!text.contains("secret"), "{text}");
}
