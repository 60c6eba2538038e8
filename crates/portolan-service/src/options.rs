//! How a service is bound, published and stopped.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use portolan_client::RegistryClientConfig;
use portolan_core::{Protocol, Scope};
use portolan_health::{CheckSpec, HealthConfig};
use tokio::net::TcpListener;

use crate::bind::{self, BoundService};
use crate::error::ServiceError;

/// How long a draining service serves on before it stops to accept: the registry's watch reaches a caller within
/// milliseconds, and this leaves room for a busy machine.
const DRAIN: Duration = Duration::from_millis(500);
/// How long open requests may take after that: as long as most supervisors wait before they kill.
const GRACE: Duration = Duration::from_secs(30);

/// How a service is bound, published and stopped. Everything but the name has a default.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    pub(crate) name: String,
    pub(crate) preferred_port: Option<u16>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) check: Option<CheckSpec>,
    pub(crate) health: HealthConfig,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) version: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) scope: Option<Scope>,
    pub(crate) registry: Option<RegistryClientConfig>,
    pub(crate) broadcast: Option<bool>,
    pub(crate) drain: Duration,
    pub(crate) grace: Duration,
}

// === impl ServiceOptions ===

impl ServiceOptions {
    /// Returns the default options of a service of this name. An invalid name is an error of [`bind`](Self::bind).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            preferred_port: None,
            address: None,
            check: None,
            health: HealthConfig::default(),
            protocol: None,
            version: String::new(),
            metadata: BTreeMap::new(),
            scope: None,
            registry: None,
            broadcast: None,
            drain: DRAIN,
            grace: GRACE,
        }
    }

    /// Sets the preferred port. If it is taken, the service gets another one. Default: that of the pool to which the name
    /// belongs. `PORT` in the environment precedes it.
    pub fn preferred_port(mut self, port: u16) -> Self {
        self.preferred_port = Some(port);
        self
    }

    /// Sets the address to listen on. Default: 127.0.0.1 if the registry is on this host, otherwise every address.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Sets the health check, which this process performs. Default: that of the server, otherwise `tcp`.
    pub fn check(mut self, check: CheckSpec) -> Self {
        self.check = Some(check);
        self
    }

    /// Sets the health check unless one is set: what a kind of server can answer.
    pub fn default_check(mut self, check: CheckSpec) -> Self {
        self.check.get_or_insert(check);
        self
    }

    /// Sets the intervals and thresholds of the health check.
    pub fn health(mut self, health: HealthConfig) -> Self {
        self.health = health;
        self
    }

    /// Sets the protocol. Default: that of the server, otherwise `tcp`.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Sets the protocol unless one is set: that of a kind of server.
    pub fn default_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol.get_or_insert(protocol);
        self
    }

    /// Sets the version as free text. Default empty.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Adds a metadata entry, such as `zone`.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Sets the scope. Default: `PORTOLAN_SCOPE`, otherwise `default`.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Sets the registry. Default: `PORTOLAN_REGISTRY_URL` with `PORTOLAN_TOKEN`, otherwise `http://localhost:7000`.
    pub fn registry(mut self, registry: RegistryClientConfig) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Sets whether the service is announced on the broadcast channel. Default: `PORTOLAN_BROADCAST__ENABLED`, otherwise true.
    pub fn broadcast(mut self, enabled: bool) -> Self {
        self.broadcast = Some(enabled);
        self
    }

    /// Sets how long the service serves on after it was published as draining, so that callers leave. Default 500 ms.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets how long open requests may take once nothing is accepted any more; then they are cut off. Default 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Returns a listening socket: inherited from a wrapper, or on a leased port.
    pub async fn bind(self) -> Result<(TcpListener, BoundService), ServiceError> {
        bind::bind(self).await
    }
}

impl From<&str> for ServiceOptions {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for ServiceOptions {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}
