//! Puts a discovery client together.

use std::fmt;
use std::sync::Arc;

use portolan_broadcast::{BroadcastConfig, Broadcaster};
use portolan_core::Scope;
use portolan_metrics::Metrics;
use portolan_port_allocator::{PortAllocator, PortAllocatorConfig};

use crate::deps::Deps;
use crate::lazy_broadcaster::LazyBroadcaster;
use crate::registry_client::{RegistryClient, RegistryClientConfig};
use crate::reservations::{Lazy, Reservations, registry_on_this_host};
use crate::{DiscoveryClient, DiscoveryConfig, InvalidDiscovery, blocking};

/// What a [`DiscoveryClient`] is made of; everything has a default.
#[derive(Default)]
pub struct DiscoveryClientBuilder {
    config: DiscoveryConfig,
    registry_url: Option<String>,
    scope: Scope,
    token: Option<String>,
    metrics: Option<Metrics>,
    broadcast: BroadcastConfig,
    broadcaster: Option<Broadcaster>,
    allocator: PortAllocatorConfig,
    reservations: Option<Arc<dyn Reservations>>,
}

// === impl DiscoveryClientBuilder ===

impl DiscoveryClientBuilder {
    /// The section `discovery` of the configuration.
    pub fn config(mut self, config: DiscoveryConfig) -> Self {
        self.config = config;
        self
    }

    /// The registry's address, instead of the configured one.
    pub fn registry_url(mut self, url: impl Into<String>) -> Self {
        self.registry_url = Some(url.into());
        self
    }

    /// The scope in which names are looked up first. Default `default`.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// The token that the registry asks for.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Where to count. Default: numbers of its own that nobody reads.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// A broadcaster to share; it stays open when the client closes.
    pub fn broadcaster(mut self, broadcaster: Broadcaster) -> Self {
        self.broadcaster = Some(broadcaster);
        self
    }

    /// The section `broadcast` of the configuration, for a broadcaster of the client's own.
    pub fn broadcast(mut self, config: BroadcastConfig) -> Self {
        self.broadcast = config;
        self
    }

    pub(crate) fn channel(&self) -> BroadcastConfig {
        self.broadcast.clone()
    }

    /// The section `port_allocator` of the configuration: where the host's reservations are kept.
    pub fn port_allocator(mut self, config: PortAllocatorConfig) -> Self {
        self.allocator = config;
        self
    }

    /// An allocator to share: it knows the host's reservations.
    pub fn allocator(self, allocator: PortAllocator) -> Self {
        self.reservations(allocator)
    }

    /// Whatever else knows who holds which port on this host.
    pub fn reservations(mut self, reservations: impl Reservations + 'static) -> Self {
        self.reservations = Some(Arc::new(reservations));
        self
    }

    /// The client. It connects when it is first used. Fails on settings that are none; retrying
    /// does not help.
    pub fn build(self) -> Result<DiscoveryClient, InvalidDiscovery> {
        let mut config = self.config;
        let allocator = self.allocator;
        let reservations = self.reservations.unwrap_or_else(|| Arc::new(Lazy::new(allocator)));
        let scopes = Deps::scopes_of(self.scope);
        if let Some(url) = self.registry_url {
            config.registry_url = url;
        } else if config.has_default_registry()
            && let Some(url) = registry_on_this_host(&*reservations, &scopes)
        {
            config.registry_url = url;
        }
        config.validate()?;
        let metrics = self.metrics.unwrap_or_default();
        let channel = match self.broadcaster {
            Some(broadcaster) => LazyBroadcaster::shared(broadcaster),
            None => LazyBroadcaster::own(self.broadcast, metrics.clone()),
        };
        let registry = RegistryClientConfig {
            token: self.token,
            ..RegistryClientConfig::new(&config.registry_url)
        };
        let registry = RegistryClient::new(registry).map_err(InvalidDiscovery::Registry)?;
        let (config, broadcaster) = (Arc::new(config), Arc::new(channel));
        let deps = Deps { config, scopes, registry, broadcaster, reservations };
        DiscoveryClient::of(deps, metrics)
    }

    /// The client for a program without a runtime, with a thread of its own.
    pub fn build_blocking(self) -> Result<blocking::DiscoveryClient, blocking::BuildError> {
        blocking::DiscoveryClient::of(self.build()?)
    }
}

impl fmt::Debug for DiscoveryClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryClientBuilder")
            .field("config", &self.config)
            .field("registry_url", &self.registry_url)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
