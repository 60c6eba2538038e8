//! A registry for tests, which stores services, fails with a status, or does not answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Json, Router};
use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_client::{RegistryClient, RegistryClientConfig};
use portolan_core::{HealthReport, Registration, ServiceEndpoint, Ttl};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How the registry answers requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mode {
    Normal,
    Status(StatusCode),
    Silent,
}

#[derive(Clone)]
pub(super) struct FakeRegistry {
    state: Arc<Mutex<Contents>>,
    address: SocketAddr,
    _server: Arc<Server>,
}

struct Contents {
    mode: Mode,
    services: BTreeMap<String, ServiceEndpoint>,
    /// The kinds of the requests, such as `register` or `heartbeat`.
    requests: Vec<&'static str>,
}

/// Ends the server with the last clone.
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FakeRegistry {
    pub(super) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    pub(super) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let contents =
            Contents { mode: Mode::Normal, services: BTreeMap::new(), requests: Vec::new() };
        let state = Arc::new(Mutex::new(contents));
        let app = Router::new()
            .route("/api/v1/services/{id}", put(register).delete(deregister))
            .route("/api/v1/services/{id}/heartbeat", put(heartbeat))
            .route("/api/v1/services/{id}/health", put(health))
            .layer(from_fn_with_state(Arc::clone(&state), answer_by_mode))
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { state, address, _server: Arc::new(Server(server)) }
    }

    pub(super) fn client(&self) -> RegistryClient {
        client_for(self.address)
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.state.lock().mode = mode;
    }

    pub(super) fn clear(&self) {
        self.state.lock().services.clear();
    }

    pub(super) fn services(&self) -> Vec<ServiceEndpoint> {
        self.state.lock().services.values().cloned().collect()
    }

    pub(super) fn put(&self, endpoint: ServiceEndpoint) {
        self.state.lock().services.insert(endpoint.id.to_string(), endpoint);
    }

    pub(super) fn requests(&self, kind: &str) -> usize {
        self.state.lock().requests.iter().filter(|request| **request == kind).count()
    }
}

pub(super) fn client_for(address: SocketAddr) -> RegistryClient {
    RegistryClient::new(RegistryClientConfig::new(format!("http://{address}"))).unwrap()
}

type Shared = State<Arc<Mutex<Contents>>>;

async fn answer_by_mode(State(state): Shared, request: Request, next: Next) -> Response {
    let mode = state.lock().mode;
    match mode {
        Mode::Normal => next.run(request).await,
        Mode::Status(status) => status.into_response(),
        Mode::Silent => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    }
}

async fn register(
    State(state): Shared,
    Path(id): Path<String>,
    Json(registration): Json<Registration>,
) -> (StatusCode, Json<ServiceEndpoint>) {
    assert_eq!(registration.id().as_str(), id);
    let mut contents = state.lock();
    contents.requests.push("register");
    let mut endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::now());
    let before = contents.services.get(&id);
    if let Some(before) = before {
        endpoint.health = before.health;
    }
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    contents.services.insert(id, endpoint.clone());
    (status, Json(endpoint))
}

async fn deregister(State(state): Shared, Path(id): Path<String>) -> StatusCode {
    let mut contents = state.lock();
    contents.requests.push("deregister");
    found(contents.services.remove(&id).is_some())
}

async fn heartbeat(State(state): Shared, Path(id): Path<String>) -> StatusCode {
    let mut contents = state.lock();
    contents.requests.push("heartbeat");
    found(contents.services.contains_key(&id))
}

async fn health(
    State(state): Shared,
    Path(id): Path<String>,
    Json(report): Json<HealthReport>,
) -> StatusCode {
    let mut contents = state.lock();
    contents.requests.push("health");
    let service = contents.services.get_mut(&id);
    let known = service.is_some();
    if let Some(endpoint) = service {
        endpoint.health = report.status;
        endpoint.health_reason = report.reason;
    }
    found(known)
}

fn found(found: bool) -> StatusCode {
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
