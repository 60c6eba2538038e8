use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get};
use portolan::{DiscoveryClient, DiscoveryConfig};
use reqwest_middleware::ClientWithMiddleware;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::builder::ServiceClientBuilder;

/// Serves on a port of its own until the test ends.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Returns an address that refuses connections as long as the socket exists.
fn refusing() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn discovery(instances: &[SocketAddr]) -> DiscoveryClient {
    let config = json!({ "endpoints": { "api": instances }, "strategies": ["config"] });
    let config: DiscoveryConfig = serde_json::from_value(config).unwrap();
    DiscoveryClient::builder().config(config).build().unwrap()
}

fn client(instances: &[SocketAddr]) -> ClientWithMiddleware {
    ServiceClientBuilder::new(&discovery(instances)).build().unwrap()
}

async fn host(headers: HeaderMap) -> String {
    headers[HOST].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn name_reaches_an_instance_and_stays_the_host() {
    let address = serve(Router::new().route("/path", get(host))).await;
    let client = client(&[address]);
    let response = client.get("http://api/path?q=1").send().await.unwrap();
    assert_eq!(response.url().as_str(), format!("http://{address}/path?q=1"));
    assert_eq!(response.text().await.unwrap(), "api");
    let direct = client.get(format!("http://{address}/path")).send().await.unwrap();
    assert_eq!(direct.text().await.unwrap(), address.to_string());
}

#[tokio::test]
async fn refused_connection_leads_to_another_instance_whatever_the_method() {
    let live = serve(Router::new().route("/", any(host))).await;
    let (_socket, dead) = refusing();
    for _ in 0..5 {
        // A client that knows nothing of the failure yet.
        let client = client(&[dead, live]);
        assert_eq!(client.post("http://api/").send().await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn request_that_is_not_answered_is_repeated_only_if_it_is_idempotent() {
    let received = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&received);
    let never = any(move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<()>().await;
    });
    let hanging = serve(Router::new().route("/", never)).await;
    let builder = ServiceClientBuilder::new(&discovery(&[hanging]));
    let client = builder.attempt_timeout(Duration::from_millis(200)).attempts(2).build().unwrap();
    let error = client.post("http://api/").send().await.unwrap_err().to_string();
    assert!(error.contains("no answer of api"), "{error}");
    assert_eq!(received.load(Ordering::Relaxed), 1);
    client.get("http://api/").send().await.unwrap_err();
    assert_eq!(received.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn answer_with_an_error_status_is_returned() {
    let busy =
        serve(Router::new().route("/", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))).await;
    let response = client(&[busy]).get("http://api/").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn service_without_instance_fails_after_the_wait() {
    let builder = ServiceClientBuilder::new(&discovery(&[])).wait(Duration::from_millis(1));
    let error = builder.build().unwrap().get("http://worker/").send().await.unwrap_err();
    assert!(error.to_string().contains("no instance of worker"), "{error}");
}
