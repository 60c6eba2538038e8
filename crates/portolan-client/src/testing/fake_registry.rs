//! A registry for tests, with injected faults.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use futures_util::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::{
    Change, HealthReport, Registration, Revision, ServiceEndpoint, ServiceEvent, Ttl,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::task::AbortOnDropHandle;

/// A fault to inject.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers every request with this status and a problem document.
    Status(u16),
    /// Answers every request with this body as `200 OK`.
    Body(String),
    /// Never answers.
    Hang,
}

pub(crate) struct FakeRegistry {
    address: SocketAddr,
    inner: Arc<Inner>,
    _server: AbortOnDropHandle<()>,
}

struct Inner {
    state: Mutex<Fake>,
    events: broadcast::Sender<Option<ServiceEvent>>,
}

#[derive(Default)]
struct Fake {
    services: Vec<ServiceEndpoint>,
    history: Vec<ServiceEvent>,
    revision: u64,
    requests: Vec<String>,
    fault: Option<Fault>,
    token: Option<String>,
    just_started: bool,
    stale: bool,
}

type Shared = State<Arc<Inner>>;
type Parameters = Query<HashMap<String, String>>;

// === impl FakeRegistry ===

impl FakeRegistry {
    pub(crate) async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Starts on a given listener.
    pub(crate) fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(Fake { revision: 100, ..Fake::default() });
        let inner = Arc::new(Inner { state, events: broadcast::channel(100).0 });
        let app = router(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner, _server: AbortOnDropHandle::new(server) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Registers an instance, or replaces the one with its id.
    pub(crate) fn put(&self, endpoint: ServiceEndpoint) {
        self.inner.state.lock().put(endpoint, &self.inner.events);
    }

    pub(crate) fn expire(&self, endpoint: &ServiceEndpoint) {
        let mut state = self.inner.state.lock();
        state.services.retain(|kept| kept.id != endpoint.id);
        state.publish(Change::Expired { endpoint: Arc::new(endpoint.clone()) }, &self.inner.events);
    }

    /// Discards everything, as after a restart.
    pub(crate) fn forget(&self) {
        let mut state = self.inner.state.lock();
        state.services.clear();
        state.history.clear();
        state.revision += 1_000;
    }

    /// Says from now on that it has just started, or not.
    pub(crate) fn just_started(&self, just_started: bool) {
        self.inner.state.lock().just_started = just_started;
    }

    /// Says from now on that its view is old, or not.
    pub(crate) fn stale(&self, stale: bool) {
        self.inner.state.lock().stale = stale;
    }

    /// Ends every open watch.
    pub(crate) fn cut(&self) {
        drop(self.inner.events.send(None));
    }

    /// Returns how many watches are open.
    pub(crate) fn watches(&self) -> usize {
        self.inner.events.receiver_count()
    }

    pub(crate) fn inject(&self, fault: impl Into<Option<Fault>>) {
        self.inner.state.lock().fault = fault.into();
    }

    pub(crate) fn demand(&self, token: &str) {
        self.inner.state.lock().token = Some(format!("Bearer {token}"));
    }

    /// Returns the requests so far: method, path and query.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.inner.state.lock().requests.clone()
    }
}

// === impl Fake ===

impl Fake {
    fn put(&mut self, mut endpoint: ServiceEndpoint, to: &Events) -> (bool, ServiceEndpoint) {
        endpoint.revision = Revision(self.revision + 1);
        let kept = self.services.iter_mut().find(|kept| kept.id == endpoint.id);
        let known = kept.is_some();
        match kept {
            Some(kept) => *kept = endpoint.clone(),
            None => self.services.push(endpoint.clone()),
        }
        let stored = Arc::new(endpoint.clone());
        self.publish(
            if known {
                Change::Updated { endpoint: stored }
            } else {
                Change::Registered { endpoint: stored }
            },
            to,
        );
        (!known, endpoint)
    }

    fn publish(&mut self, change: Change, to: &Events) {
        self.revision += 1;
        let event = ServiceEvent { revision: Revision(self.revision), change };
        self.history.push(event.clone());
        drop(to.send(Some(event)));
    }
}

type Events = broadcast::Sender<Option<ServiceEvent>>;

fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/api/v1/services", get(list))
        .route("/api/v1/services/{id}", put(register).delete(deregister).get(one))
        .route("/api/v1/services/{id}/heartbeat", put(heartbeat))
        .route("/api/v1/services/{id}/health", put(health))
        .route("/api/v1/watch", get(watch))
        .layer(from_fn_with_state(Arc::clone(&inner), inject))
        .with_state(inner)
}

async fn inject(State(inner): Shared, request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let token = request.headers().get(header::AUTHORIZATION).cloned();
    let fault = {
        let mut state = inner.state.lock();
        state.requests.push(line);
        if state.token.is_some()
            && token.as_ref().map(|t| t.to_str().unwrap()) != state.token.as_deref()
        {
            return problem(401, "no token");
        }
        state.fault.clone()
    };
    match fault {
        None => next.run(request).await,
        Some(Fault::Status(status)) => problem(status, "injected"),
        Some(Fault::Body(body)) => body.into_response(),
        Some(Fault::Hang) => std::future::pending().await,
    }
}

fn problem(status: u16, detail: &str) -> Response {
    let body = json!({"title": "a problem", "status": status, "detail": detail});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn list(State(inner): Shared, Query(query): Parameters) -> Response {
    let state = inner.state.lock();
    let services: Vec<_> = state.services.iter().filter(|s| key(s, &query)).collect();
    let (revision, incomplete) = (state.revision, state.just_started);
    let mut listing = json!({"revision": revision, "incomplete": incomplete, "services": services});
    if !state.stale {
        return Json(listing).into_response();
    }
    (listing["stale"], listing["view_age_ms"]) = (true.into(), 12_000.into());
    ([("portolan-stale", "true")], Json(listing)).into_response()
}

async fn register(State(inner): Shared, Json(registration): Json<Registration>) -> Response {
    let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    let (created, endpoint) = inner.state.lock().put(endpoint, &inner.events);
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    (status, Json(endpoint)).into_response()
}

async fn one(State(inner): Shared, Path(id): Path<String>) -> Response {
    match inner.state.lock().services.iter().find(|kept| kept.id == id.as_str()) {
        Some(endpoint) => Json(endpoint).into_response(),
        None => problem(404, "unknown"),
    }
}

async fn deregister(State(inner): Shared, Path(id): Path<String>) -> Response {
    let mut state = inner.state.lock();
    let Some(at) = state.services.iter().position(|kept| kept.id == id.as_str()) else {
        return problem(404, "unknown");
    };
    let endpoint = Arc::new(state.services.remove(at));
    state.publish(Change::Deregistered { endpoint }, &inner.events);
    StatusCode::NO_CONTENT.into_response()
}

async fn heartbeat(State(inner): Shared, Path(id): Path<String>) -> Response {
    if inner.state.lock().services.iter().any(|kept| kept.id == id.as_str()) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        problem(404, "unknown")
    }
}

async fn health(
    State(inner): Shared,
    Path(id): Path<String>,
    Json(report): Json<HealthReport>,
) -> Response {
    let mut state = inner.state.lock();
    let Some(kept) = state.services.iter_mut().find(|kept| kept.id == id.as_str()) else {
        return problem(404, "unknown");
    };
    kept.health = report.status;
    let endpoint = Arc::new(kept.clone());
    state.publish(Change::Health { endpoint }, &inner.events);
    StatusCode::NO_CONTENT.into_response()
}

async fn watch(State(inner): Shared, Query(query): Parameters) -> Response {
    let state = inner.state.lock();
    let live = BroadcastStream::new(inner.events.subscribe());
    let past = past(&state, &query);
    drop(state);
    let live = live
        .take_while(|event| std::future::ready(!matches!(event, Ok(None))))
        .filter_map(|event| std::future::ready(event.ok().flatten()));
    let events = futures_util::stream::iter(past).chain(live).filter_map(move |event| {
        let fits = event.change.endpoint().is_none_or(|endpoint| key(endpoint, &query));
        std::future::ready(fits.then(|| Ok::<_, Infallible>(text(&event))))
    });
    // A comment first, so that the client receives the head of the response.
    let hello = futures_util::stream::iter([Ok(": hello\n\n".to_owned())]);
    let body = Body::from_stream(hello.chain(events));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn past(state: &Fake, query: &HashMap<String, String>) -> Vec<ServiceEvent> {
    let from: Option<u64> = query.get("revision").map(|revision| revision.parse().unwrap());
    let kept = state.history.first().map_or(state.revision, |event| event.revision.0 - 1);
    match from {
        Some(from) if from >= kept => {
            state.history.iter().filter(|event| event.revision.0 > from).cloned().collect()
        }
        _ => {
            let fits = state.services.iter().filter(|endpoint| key(endpoint, query));
            let endpoints = fits.cloned().map(Arc::new).collect();
            let (revision, incomplete) = (Revision(state.revision), state.just_started);
            vec![ServiceEvent { revision, change: Change::Snapshot { endpoints, incomplete } }]
        }
    }
}

fn key(endpoint: &ServiceEndpoint, query: &HashMap<String, String>) -> bool {
    let among = |key: &str, value: &str| {
        query.get(key).is_none_or(|key| key.split(',').any(|one| one == value))
    };
    among("name", endpoint.name.as_str())
        && among("scope", endpoint.scope.as_str())
        && among("health", endpoint.health.as_str())
}

fn text(event: &ServiceEvent) -> String {
    let (kind, revision) = (event.change.kind(), event.revision);
    format!("event: {kind}\nid: {revision}\ndata: {}\n\n", serde_json::to_string(event).unwrap())
}

/// Waits until the condition holds; the test's own deadline is ten seconds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited 10 s for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
