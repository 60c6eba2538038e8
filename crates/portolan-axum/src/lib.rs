//! An axum server that leases a port, registers, reports its health, drains and deregisters.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), portolan_axum::ServiceError> {
//!     let app = Router::new().route("/", get(|| async { "hello" }));
//!     portolan_axum::serve("api", app).await
//! }
//! ```
//!
//! Several instances on one host get different ports. SIGTERM and SIGINT end the server in this order, so that no request
//! fails: it is published as draining, and callers choose other instances; it is deregistered; nothing is accepted any
//! more, and open requests finish, for at most [`grace`](ServiceOptions::grace).
//!
//! [`ServiceOptions`] sets the port, the health check, the metadata and the rest. The registry and its token come from the
//! environment, and so does the socket under `portolan run`: see [`portolan_service`].

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;

use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
pub use portolan_service::{ServiceError, ServiceOptions, stop_signal};
use tokio::sync::oneshot;

/// Serves the router as an instance of this service until SIGTERM or SIGINT.
///
/// # Errors
/// If no port can be leased, the registry refuses the service, or the server fails.
pub async fn serve(service: impl Into<ServiceOptions>, router: Router) -> Result<(), ServiceError> {
    serve_until(service, router, stop_signal()).await
}

/// Serves the router as an instance of this service until the future resolves.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until(
    service: impl Into<ServiceOptions>,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServiceError> {
    let mut options = service.into();
    if let Ok(http) = "http".parse() {
        options = options.default_protocol(http);
    }
    let (listener, bound) = options.bind().await?;
    let (close, closed) = oneshot::channel::<()>();
    let app: IntoMakeServiceWithConnectInfo<Router, SocketAddr> =
        router.into_make_service_with_connect_info();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        // A dropped sender means the same: the service could not be published.
        _ = closed.await;
    });
    bound.run(server.into_future(), stop, async { _ = close.send(()) }).await
}
