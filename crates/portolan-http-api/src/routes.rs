//! Every route in one table, and what those hear who miss them.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use http::header::{ALLOW, CACHE_CONTROL};
use http::{HeaderValue, Uri};
use tower_http::catch_panic::CatchPanicLayer;

use crate::problem::{Kind, Problem};
use crate::resources::{batch, health, heartbeat, server, services, watch};
use crate::{Api, access, nearest, requests};

/// One path, and what may be done there.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// The methods as `Allow` lists them.
    pub(crate) methods: &'static str,
    /// Whether it needs the token, where there is one.
    guarded: bool,
    handler: fn() -> MethodRouter<Api>,
}

/// The table. `openapi.json` describes the same, and a test holds it to that.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    guarded("/api/v1/services", "GET, HEAD, POST", || get(services::list).post(services::create)),
    guarded("/api/v1/services/{id}", "GET, HEAD, PUT, DELETE", || get(services::read).put(services::replace).delete(services::remove)),
    guarded("/api/v1/services/{id}/heartbeat", "PUT", || put(heartbeat::beat)),
    guarded("/api/v1/services/{id}/health", "PUT", || put(health::set)),
    guarded("/api/v1/batch", "POST", || post(batch::apply)),
    guarded("/api/v1/watch", "GET, HEAD", || get(watch::stream)),
    guarded("/metrics", "GET, HEAD", || get(server::metrics)),
    open("/healthz", "GET, HEAD", || get(server::alive)),
    open("/readyz", "GET, HEAD", || get(server::ready)),
    open("/openapi.json", "GET, HEAD", || get(server::openapi)),
];

const fn guarded(
    path: &'static str,
    methods: &'static str,
    handler: fn() -> MethodRouter<Api>,
) -> Route {
    Route { path, methods, guarded: true, handler }
}

const fn open(
    path: &'static str,
    methods: &'static str,
    handler: fn() -> MethodRouter<Api>,
) -> Route {
    Route { path, methods, guarded: false, handler }
}

/// The service that answers everything.
pub(crate) fn router(api: &Api) -> Router {
    let guard = from_fn_with_state(api.clone(), access::check);
    let add = |router: Router<Api>, route: &'static Route| {
        let handler = (route.handler)()
            .fallback(move |request: Request| wrong_method(route.methods, request));
        let handler = if route.guarded { handler.route_layer(guard.clone()) } else { handler };
        router.route(route.path, handler)
    };
    ROUTES
        .iter()
        .fold(Router::new(), add)
        .fallback(nothing_here)
        .layer(CatchPanicLayer::custom(requests::panicked))
        .layer(from_fn_with_state(api.clone(), requests::attend))
        .layer(map_response(uncached))
        .with_state(api.clone())
}

/// Has caches ask each time: what is true of a registry is not true for long.
async fn uncached(mut response: Response) -> Response {
    let cache = response.headers_mut().entry(CACHE_CONTROL);
    cache.or_insert(HeaderValue::from_static("no-cache"));
    response
}

async fn wrong_method(methods: &'static str, request: Request) -> Response {
    let detail = format!("{} is not allowed here; use {methods}", request.method());
    Problem::new(Kind::MethodNotAllowed, detail)
        .header(ALLOW, HeaderValue::from_static(methods))
        .into_response()
}

async fn nothing_here(uri: Uri) -> Problem {
    // Enough of it to find what was meant.
    let path: String = uri.path().chars().take(200).collect();
    let filled: Vec<_> = ROUTES.iter().map(|route| fill(route.path, &path)).collect();
    let nearest = nearest::of(&path, filled.iter().map(String::as_str)).unwrap_or_default();
    let detail = format!(
        "there is nothing at {path}; the nearest is {nearest}, and /openapi.json describes all there is"
    );
    Problem::new(Kind::NoSuchRoute, detail)
}

/// The route with its placeholders filled from the path: any id is as near as the right one.
fn fill(route: &str, path: &str) -> String {
    let mut given = path.split('/');
    let segments = route.split('/').map(|segment| match (segment.starts_with('{'), given.next()) {
        (true, Some(given)) if !given.is_empty() => given,
        _ => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}
