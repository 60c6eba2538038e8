//! The published service, and its end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portolan_agent::{AdvertisedAddresses, Agent};
use portolan_broadcast::{BroadcastConfig, Broadcaster};
use portolan_client::RegistryClient;
use portolan_core::{Host, Registration, Remedy as _};
use portolan_health::CheckSpec;
use portolan_metrics::Metrics;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::bind::BoundService;
use crate::error::ServiceError;

/// A published service. If it is dropped without [`withdraw`](Self::withdraw), the registry learns of its end by the end of its
/// session, as after a crash.
#[derive(Debug)]
pub struct PublishedService {
    /// `None` if a wrapper publishes the service.
    published: Option<(Agent, Option<Broadcaster>)>,
    address: SocketAddr,
    drain: Duration,
}

// === impl PublishedService ===

impl PublishedService {
    /// Returns the address that the service listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the agent; `None` if a wrapper publishes the service.
    pub fn agent(&self) -> Option<&Agent> {
        self.published.as_ref().map(|(agent, _)| agent)
    }

    /// Publishes that the service is about to stop, waits until callers have left, and deregisters it. The server must serve on
    /// meanwhile, and may then stop to accept and finish its open requests.
    pub async fn withdraw(self) {
        let Some((agent, broadcaster)) = self.published else { return };
        info!(service_id = %agent.id(), "Draining");
        if agent.drain().await {
            sleep(self.drain).await;
        }
        agent.stop().await;
        if let Some(broadcaster) = broadcaster {
            broadcaster.stop().await;
        }
    }
}

pub(crate) async fn publish(bound: BoundService) -> Result<PublishedService, ServiceError> {
    let (address, drain) = (bound.address, bound.options.drain);
    if bound.is_wrapped {
        return Ok(PublishedService { published: None, address, drain });
    }
    let BoundService { options, environment, name, scope, .. } = bound;
    let registry = RegistryClient::new(environment.registry)?;
    let enabled = options.broadcast.unwrap_or(environment.broadcast.enabled);
    let broadcaster = open_channel(BroadcastConfig { enabled, ..environment.broadcast }).await;
    let (host, addresses) = advertised(address.ip());
    let mut registration = Registration::new(name, host, address.port());
    registration.scope = scope;
    registration.protocol = options.protocol.unwrap_or(registration.protocol);
    registration.version = options.version;
    registration.metadata = options.metadata.into();
    let check = options.check.unwrap_or_else(default_check);
    let agent = Agent::builder(registration)
        .registry(registry)
        .broadcaster(broadcaster.clone())
        .check(check)
        .health(options.health)
        .addresses(addresses)
        .start()
        .await?;
    info!(service_id = %agent.id(), address = agent.endpoint().address(), "Published");
    Ok(PublishedService { published: Some((agent, broadcaster)), address, drain })
}

/// Opens the broadcast channel. Without one the service is registered only.
async fn open_channel(config: BroadcastConfig) -> Option<Broadcaster> {
    if !config.enabled {
        return None;
    }
    match Broadcaster::new(config, Metrics::new()).await {
        Ok(broadcaster) => Some(broadcaster),
        Err(error) => {
            warn!(
                error = error.with_remedy(),
                "Broadcast channel not opened, the service is not announced"
            );
            None
        }
    }
}

/// Returns the host to publish for a socket that listens on this address.
fn advertised(listening: IpAddr) -> (Host, AdvertisedAddresses) {
    match listening {
        IpAddr::V4(ip) if ip.is_unspecified() => (Host::loopback(), AdvertisedAddresses::Ipv4),
        IpAddr::V6(ip) if ip.is_unspecified() => (Host::loopback(), AdvertisedAddresses::All),
        ip => match Host::try_from(ip) {
            Ok(host) => (host, AdvertisedAddresses::Host),
            Err(_) => (Host::loopback(), AdvertisedAddresses::Host),
        },
    }
}

fn default_check() -> CheckSpec {
    "tcp".parse().unwrap_or_else(|_| CheckSpec::none())
}
