//! A server whose behaviour changes while it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::service::Routes;
use tonic_health::server::health_reporter;

const HEALTHY: Duration = Duration::from_millis(2);
const SLOW: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    Healthy,
    Slow,
    Hanging,
}

/// A server in this process. Dropping it ends it.
pub(crate) struct Replica {
    address: SocketAddr,
    behaviour: Arc<AtomicU8>,
    server: JoinHandle<()>,
}

// === impl Replica ===

impl Replica {
    async fn start(routes: Router, behaviour: Arc<AtomicU8>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        // It runs until it is aborted.
        let server = tokio::spawn(async { drop(axum::serve(listener, routes).await) });
        Ok(Self { address, behaviour, server })
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        self.behaviour.store(behaviour as u8, Ordering::Relaxed);
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Starts three replicas that serve HTTP.
pub(crate) async fn http() -> Result<[Replica; 3]> {
    three(|| Router::new().route("/", get(|| async { "ok" }))).await
}

/// Starts three replicas that serve the health protocol of gRPC.
pub(crate) async fn grpc() -> Result<[Replica; 3]> {
    three(|| Routes::new(health_reporter().1).into_axum_router()).await
}

async fn three(routes: impl Fn() -> Router) -> Result<[Replica; 3]> {
    let start = || {
        let behaviour = Arc::new(AtomicU8::new(0));
        let now = Arc::clone(&behaviour);
        let layer = from_fn(move |request: Request, next: Next| {
            let behaviour = now.load(Ordering::Relaxed);
            async move {
                delay(behaviour).await;
                next.run(request).await
            }
        });
        Replica::start(routes().layer(layer), behaviour)
    };
    Ok([start().await?, start().await?, start().await?])
}

async fn delay(behaviour: u8) {
    const BAD: u8 = Behaviour::Slow as u8;
    const HANGING: u8 = Behaviour::Hanging as u8;
    match behaviour {
        BAD => sleep(SLOW).await,
        HANGING => std::future::pending().await,
        _ => sleep(HEALTHY).await,
    }
}
