//! A registry server: a registry, its HTTP API, what it hears by broadcast, and the health that it
//! looks after.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan_broadcast::Broadcaster;
use portolan_core::{Host, Scope};
use portolan_http::{Dialect, HttpLimits};
use portolan_http_api::Api;
use portolan_metrics::Metrics;
use portolan_port_allocator::{AllocatorError, PortAllocator};
use portolan_registry::{InvalidRegistryConfig, Registry};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::listen::listen;
use crate::{Settings, flows};

/// How long the server takes to end at the most; what has not ended by then is cut off.
pub const STOP_WITHIN: Duration = Duration::from_millis(900);

/// A registry server that runs.
#[derive(Debug)]
pub struct RegistryServer {
    address: SocketAddr,
    registry: Registry,
    /// Its session holds the name under which the port is reserved.
    allocator: PortAllocator,
    /// Open as long as we listen.
    _broadcaster: Option<Broadcaster>,
    /// Ended in this order: who speaks to the registry before the registry itself.
    parts: Vec<Part>,
}

/// A part that runs, and what asks it to end. Dropped, it is cut off.
type Part = (CancellationToken, AbortOnDropHandle<()>);

/// What a registry server is made of.
#[derive(Debug)]
pub struct Builder {
    settings: Settings,
    scope: Scope,
    metrics: Metrics,
    broadcaster: Option<Broadcaster>,
    on_any_port: bool,
}

/// Why a registry server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The settings switch it off.
    #[error("the registry is switched off; set service_registry.enabled to true")]
    Disabled,
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] InvalidRegistryConfig),
    /// The address names no port.
    #[error("service_registry.listen_address: port 0 is not a port; give one from 1 to 65535")]
    PortZero,
    /// The port is taken.
    #[error("the registry cannot have its port: {0}")]
    Port(#[from] AllocatorError),
    /// The socket does not listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

// === impl RegistryServer ===

impl RegistryServer {
    /// A server with these settings.
    pub fn builder(settings: Settings) -> Builder {
        let (scope, metrics) = (Scope::default(), Metrics::new());
        Builder { settings, scope, metrics, broadcaster: None, on_any_port: false }
    }

    /// Where clients on this host reach it.
    pub fn url(&self) -> String {
        let host = match self.address.ip() {
            ip if ip.is_unspecified() => Host::loopback(),
            ip => Host::try_from(ip).unwrap_or_else(|_| Host::loopback()),
        };
        format!("http://{}", host.with_port(self.address.port()))
    }

    /// The registry itself, for parts of the same process.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Ends in good order: no new requests, the ones under way answered, all watches ended; within
    /// [`STOP_WITHIN`]. The port is free afterwards.
    pub async fn stop(self) {
        let end = Instant::now() + STOP_WITHIN;
        let count = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        for (left, (token, part)) in (1..=count).rev().zip(self.parts) {
            token.cancel();
            // One that hangs leaves time to those behind it.
            let now = Instant::now();
            let share = end.saturating_duration_since(now) / left;
            if timeout_at(now + share, part).await.is_err() {
                warn!("A part of the registry server did not end in time, cutting it off");
            }
        }
        drop(self.allocator);
        info!(address = %self.address, "Registry server stopped");
    }
}

// === impl Builder ===

impl Builder {
    /// The scope under which its port is reserved.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Where it is all counted, and what `/metrics` shows.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The channel that it listens on, where there is one.
    pub fn broadcaster(mut self, broadcaster: Option<Broadcaster>) -> Self {
        self.broadcaster = broadcaster;
        self
    }

    /// Whether another port will do where the configured one is taken, on loopback unless an
    /// address is configured.
    pub fn on_any_port(mut self, any: bool) -> Self {
        self.on_any_port = any;
        self
    }

    /// Starts the server: the port first, so that a second server fails before it does anything.
    pub async fn start(self) -> Result<RegistryServer, ServerError> {
        let Self { settings, scope, metrics, broadcaster, on_any_port } = self;
        if !settings.service_registry.enabled {
            return Err(ServerError::Disabled);
        }
        let allocator =
            PortAllocator::new(settings.port_allocator.clone())?.with_metrics(metrics.clone());
        let listener = listen(&settings, &allocator, &scope, on_any_port)?;
        let address = settings.service_registry.listen_address;
        let address =
            listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
        let (writer, registry) =
            portolan_registry::open(&settings.service_registry, metrics.clone())?;
        let broadcaster = broadcaster.filter(|_| settings.service_registry.import_broadcast);
        let api = Api::new(registry.clone(), metrics.clone()).token(settings.token.as_deref());

        let mut parts = Vec::new();
        parts.push(part(|stop| {
            flows::health(registry.clone(), settings.health.clone(), metrics, stop)
        }));
        // Listens from now on, so that nothing is missed that is said after the start.
        if let Some(heard) = broadcaster.as_ref().map(Broadcaster::listen) {
            parts.push(part(|stop| flows::import(heard, registry.clone(), stop)));
        }
        parts.push(part(|stop| serve(listener, vec![api.dialect()], stop)));
        parts.push(part(|stop| writer.run(stop.cancelled_owned())));
        warn_of_strangers(address.ip(), settings.token.is_some());
        info!(%address, "Registry server started");
        Ok(RegistryServer { address, registry, allocator, _broadcaster: broadcaster, parts })
    }
}

async fn serve(listener: TcpListener, dialects: Vec<Dialect>, stop: CancellationToken) {
    let limits = HttpLimits::default();
    let stop = stop.cancelled_owned();
    if let Err(error) = portolan_http::serve(listener, dialects, limits, stop).await {
        warn!(%error, "The HTTP API ended");
    }
}

fn part<F>(start: impl FnOnce(CancellationToken) -> F) -> Part
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = CancellationToken::new();
    (stop.clone(), AbortOnDropHandle::new(tokio::spawn(start(stop))))
}

fn warn_of_strangers(address: IpAddr, has_token: bool) {
    if !address.is_loopback() && !has_token {
        info!(
            "Whoever reaches this registry may write to it; set PORTOLAN_TOKEN to ask for a token"
        );
    }
}

#[cfg(test)]
mod tests;
