//! The route table.

use axum::Router;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post, put};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use portolan_http::AuthorizeLayer;
use tower::util::MapResponseLayer;

use crate::Api;
use crate::resources::{
    batch, check, checks, config, health, heartbeat, server, servers, services, session, settings,
    watch,
};

/// The path of lookups and registrations.
pub(crate) const SERVICES: &str = "/api/v1/services";
/// How long caches may keep a response: they ask each time.
pub(crate) const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// One route.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// The methods, as the `Allow` header lists them.
    pub(crate) methods: &'static str,
    /// Whether the route requires the token, if the registry has one.
    guarded: bool,
    handler: fn() -> MethodRouter<Api>,
}

/// Every route. A test checks that `openapi.json` describes the same routes.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    guarded(SERVICES, "GET, HEAD, POST", || get(services::list).post(services::create)),
    guarded("/api/v1/services/{id}", "GET, HEAD, PUT, DELETE", || get(services::read).put(services::replace).delete(services::remove)),
    guarded("/api/v1/services/{id}/heartbeat", "PUT", || put(heartbeat::renew)),
    guarded("/api/v1/services/{id}/health", "GET, HEAD, PUT", || get(health::read).put(health::set)),
    guarded("/api/v1/services/{id}/session", "POST", || post(session::hold)),
    guarded("/api/v1/services/{id}/check", "POST", || post(check::request)),
    guarded("/api/v1/checks", "GET, HEAD", || get(checks::list)),
    guarded("/api/v1/batch", "POST", || post(batch::apply)),
    guarded("/api/v1/watch", "GET, HEAD", || get(watch::stream)),
    guarded("/api/v1/settings", "GET, HEAD", || get(settings::list)),
    guarded("/api/v1/settings/{name}", "GET, HEAD, PUT, PATCH, DELETE", || get(settings::read).put(settings::replace).patch(settings::patch).delete(settings::remove)),
    guarded("/api/v1/settings/{name}/history", "GET, HEAD", || get(settings::history)),
    guarded("/api/v1/settings/{name}/rollback", "POST", || post(settings::roll_back)),
    guarded("/api/v1/settings/{name}/schema", "GET, HEAD, PUT, DELETE", || get(settings::read_schema).put(settings::set_schema).delete(settings::remove_schema)),
    guarded("/api/v1/settings/{name}/watch", "GET, HEAD", || get(settings::watch::stream)),
    guarded("/api/v1/config", "GET, HEAD, PATCH", || get(config::read).patch(config::change)),
    guarded("/api/v1/config/history", "GET, HEAD", || get(config::history)),
    guarded("/api/v1/config/lock", "PUT, DELETE", || put(config::lock).delete(config::unlock)),
    guarded("/metrics", "GET, HEAD", || get(server::metrics)),
    open("/healthz", "GET, HEAD", || get(server::live)),
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

/// Builds the router of the table.
pub(crate) fn router(api: &Api) -> Router {
    let own = api.clone();
    let advertise = MapResponseLayer::new(move |response| servers::advertise(&own, response));
    let no_cache = MapResponseLayer::new(no_cache);
    let add = |router: Router<Api>, route: &Route| {
        let handler = (route.handler)();
        // All at once: for each request, a layer clones what is below it. A route layer does not apply to the 405 response, which
        // needs no token.
        let handler = match route.guarded {
            true => {
                let layers = (no_cache.clone(), AuthorizeLayer::new(), advertise.clone());
                handler.route_layer(layers)
            }
            false => handler.route_layer(no_cache.clone()),
        };
        router.route(route.path, handler)
    };
    ROUTES.iter().fold(Router::new(), add).with_state(api.clone())
}

/// Makes caches revalidate every response: the state of a registry changes at any time.
fn no_cache(mut response: Response) -> Response {
    let cache = response.headers_mut().entry(CACHE_CONTROL);
    cache.or_insert(NO_CACHE);
    response
}
