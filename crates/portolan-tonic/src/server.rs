//! A tonic server as an instance of a service.

use portolan_health::CheckSpec;
use portolan_service::{ServiceError, ServiceOptions, stop_signal};
use tokio::sync::oneshot;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;

/// Serves the router, and the standard health protocol, as an instance of this service until SIGTERM or SIGINT.
///
/// # Errors
/// If no port can be leased, the registry refuses the service, or the server fails.
pub async fn serve(service: impl Into<ServiceOptions>, router: Router) -> Result<(), ServiceError> {
    serve_until(service, router, stop_signal()).await
}

/// Serves the router, and the standard health protocol, as an instance of this service until the future resolves.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until(
    service: impl Into<ServiceOptions>,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServiceError> {
    let options = with_defaults(service.into());
    let (listener, bound) = options.bind().await?;
    let (reporter, health) = health_reporter();
    let (close, closed) = oneshot::channel::<()>();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = router.add_service(health).serve_with_incoming_shutdown(incoming, async {
        // A dropped sender means the same: the service could not be published.
        _ = closed.await;
    });
    let close = async {
        // A client that asks the server itself, such as Kubernetes, sees it as well.
        reporter.set_service_status("", ServingStatus::NotServing).await;
        _ = close.send(());
    };
    bound.run(server, stop, close).await
}

fn with_defaults(mut options: ServiceOptions) -> ServiceOptions {
    if let Ok(grpc) = "grpc".parse() {
        options = options.default_protocol(grpc);
    }
    match "grpc".parse::<CheckSpec>() {
        Ok(check) => options.default_check(check),
        Err(_) => options,
    }
}
