//! Builds discovery clients.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use portolan_broadcast::{BroadcastConfig, Broadcaster, read_secret};
use portolan_core::{Pools, Scope, Secret};
use portolan_metrics::Metrics;

use crate::cache::Cache;
use crate::cache_sync::CacheSync;
use crate::cached_resolver::CachedResolver;
use crate::chain::{Chain, Link};
use crate::client::DiscoveryClient;
use crate::config::{DiscoveryConfig, InvalidDiscovery};
use crate::deps::Deps;
use crate::feeds::Feeds;
use crate::lazy_broadcaster::LazyBroadcaster;
use crate::lifecycle::Lifecycle;
use crate::registry_client::{RegistryClient, RegistryClientConfig, RegistryClientError};
use crate::reservations::{HostDefaults, Reservations, UnknownHost, registry_on_this_host};
use crate::resolver::Resolver;
use crate::select::Suspects;
use crate::strategies::STRATEGIES;
use crate::strategy::{ChangeFeed, Position, Strategy};
use crate::strategy_name::StrategyName;
use crate::trust::{Sources, Trust};

/// Builds a [`DiscoveryClient`]; everything has a default.
pub struct DiscoveryClientBuilder<H = UnknownHost> {
    config: DiscoveryConfig,
    registry_url: Option<String>,
    scope: Scope,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    metrics: Option<Metrics>,
    broadcast: BroadcastConfig,
    broadcaster: Option<Broadcaster>,
    reservations: Option<Arc<dyn Reservations>>,
    strategies: Vec<(Position, Arc<dyn Strategy>)>,
    pools: Pools,
    allows_unsigned: Option<bool>,
    race: Option<bool>,
    host: PhantomData<fn() -> H>,
}

// === impl DiscoveryClient ===

impl<H: HostDefaults> DiscoveryClient<H> {
    /// Returns a builder with the default settings and the reservations of the host.
    pub fn builder() -> DiscoveryClientBuilder<H> {
        DiscoveryClientBuilder::default()
    }
}

// === impl DiscoveryClientBuilder ===

impl<H> DiscoveryClientBuilder<H> {
    /// Sets the section `discovery` of the configuration.
    pub fn config(mut self, config: DiscoveryConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the registry's URL, or those of several servers over one store separated by commas, instead of the
    /// configured ones.
    pub fn registry_url(mut self, url: impl Into<String>) -> Self {
        self.registry_url = Some(url.into());
        self
    }

    /// Sets the scope in which names are looked up first. Default `default`.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the token for the registry.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the file that the token comes from: when the registry refuses the token, it is read again.
    pub fn token_file(mut self, file: Option<PathBuf>) -> Self {
        self.token_file = file;
        self
    }

    /// Sets the metrics to count in. Default: metrics that are not exported.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Shares a broadcaster, which stays open when the client closes.
    pub fn broadcaster(mut self, broadcaster: Broadcaster) -> Self {
        self.broadcaster = Some(broadcaster);
        self
    }

    /// Sets the section `broadcast` of the configuration, for a broadcaster of the client's own.
    pub fn broadcast(mut self, config: BroadcastConfig) -> Self {
        self.broadcast = config;
        self
    }

    pub(crate) fn broadcast_config(&self) -> BroadcastConfig {
        self.broadcast.clone()
    }

    /// Sets the source of this host's port reservations, such as a port allocator.
    pub fn reservations(mut self, reservations: impl Reservations + 'static) -> Self {
        self.reservations = Some(Arc::new(reservations));
        self
    }

    /// Sets the pool catalogue, which defines the well-known ports of service types. Default: the
    /// built-in pools.
    pub fn pools(mut self, pools: Pools) -> Self {
        self.pools = pools;
        self
    }

    /// Adds a strategy at a position of the configured order. Positions are resolved in the order
    /// of the calls. The name must differ from those of all other strategies.
    pub fn strategy(mut self, position: Position, strategy: impl Strategy + 'static) -> Self {
        self.strategies.push((position, Arc::new(strategy)));
        self
    }

    /// Sets whether unsigned strategies are used although there is a token or a key: `broadcast` without a key, `dns`, and the
    /// well-known ports of `default`. Default: if [`DiscoveryConfig::strategies`] names strategies, instead of the
    /// default list.
    pub fn allow_unsigned(mut self, allow: bool) -> Self {
        self.allows_unsigned = Some(allow);
        self
    }

    /// Sets whether a strategy starts although the one before it still runs, instead of [`DiscoveryConfig::race`].
    pub fn race(mut self, race: bool) -> Self {
        self.race = Some(race);
        self
    }

    /// Returns the URL of the registry that the client will use: the one set here or in the
    /// configuration, else the one of a registry that holds a port on this host in the client's
    /// scopes, else `http://localhost:7000`.
    pub fn locate_registry(&self) -> String {
        self.known_registry().unwrap_or_else(|| self.config.registry())
    }

    /// Returns the URL of the registry that a setting or a lease on this host names.
    fn known_registry(&self) -> Option<String> {
        let explicit = self.registry_url.clone().or_else(|| self.config.explicit_registry());
        if explicit.is_some() {
            return explicit;
        }
        let scopes = self.scope.lookup_order();
        let local = self.reservations.as_ref()?;
        registry_on_this_host(&**local, &scopes)
    }

    /// Returns a client of the registry alone, at [`Self::locate_registry`] and with the token.
    pub fn registry_client(&self) -> Result<RegistryClient, RegistryClientError> {
        let (token, token_file) = self.token_and_file()?;
        let client = RegistryClient::new(RegistryClientConfig {
            token,
            token_file,
            dns_servers: self.config.dns.servers.clone(),
            tls: self.config.tls.clone(),
            ..RegistryClientConfig::new(self.locate_registry())
        })?;
        Ok(match &self.reservations {
            Some(host) => client.on_host(Arc::clone(host)),
            None => client,
        })
    }

    /// Returns the token, and the file in which there may be a newer one. What the program sets precedes the configuration.
    fn token_and_file(&self) -> Result<(Option<Secret>, Option<PathBuf>), RegistryClientError> {
        match &self.config.token_file {
            Some(file) if self.token.is_none() => {
                let token = read_secret(file).map_err(|error| {
                    let (problem, remedy) = (error.to_string(), error.remedy());
                    RegistryClientError::InvalidTokenFile { problem, remedy }
                })?;
                Ok((Some(token), Some(file.clone())))
            }
            _ => Ok((self.token.clone(), self.token_file.clone())),
        }
    }

    /// Builds what the built-in strategies are built from.
    pub(crate) fn deps(&self, metrics: &Metrics) -> Result<Deps, InvalidDiscovery> {
        let registry = self.registry_client().map_err(InvalidDiscovery::of_registry)?;
        let broadcaster = match &self.broadcaster {
            Some(broadcaster) => LazyBroadcaster::shared(broadcaster.clone()),
            None => LazyBroadcaster::own(self.broadcast.clone(), metrics.clone()),
        };
        Ok(Deps {
            scopes: self.scope.lookup_order(),
            registry,
            registry_is_known: self.known_registry().is_some(),
            broadcaster: Arc::new(broadcaster),
            reservations: self.reservations.clone(),
            dns: self.config.dns.clone(),
            endpoints: self.config.endpoints.clone(),
            default_ports: self.config.default_ports.clone(),
            pools: self.pools.clone(),
        })
    }

    /// Builds the client, which connects by its first use. Fails if a setting is not valid;
    /// retrying does not help.
    pub fn build(self) -> Result<DiscoveryClient<H>, InvalidDiscovery> {
        self.config.validate()?;
        let metrics = self.metrics.clone().unwrap_or_default();
        let deps = self.deps(&metrics)?;
        let Deps { scopes, registry, broadcaster, .. } = deps.clone();
        let registry_url = registry.url();
        let config = self.config;
        let names_some = || config.strategies != DiscoveryConfig::default().strategies;
        let are_named = self.allows_unsigned.unwrap_or_else(names_some);
        let has_token = self.token.is_some() || config.token_file.is_some();
        let sources = Sources::new(has_token, &self.broadcast, are_named);
        let links = links(&config, &deps, sources, self.strategies)?;
        let is_used = |link: &Link| link.is_default && !link.is_off;
        let uses = |feed| links.iter().any(|link| is_used(link) && link.kind.feed == feed);
        let registry = uses(ChangeFeed::Ordered).then_some(registry);
        let announced = uses(ChangeFeed::Announced).then(|| Arc::clone(&broadcaster));
        let feeds = Feeds::new(registry, announced, scopes.clone());
        let lifecycle = Lifecycle::default();
        let race = self.race.unwrap_or(config.race);
        let chain = Chain::new(links, scopes, metrics.clone()).racing(race);
        let defaults = (config.retries, config.timeouts.overall);
        let resolver = Resolver::new(chain, lifecycle.clone(), config.enabled, defaults);
        let suspects = Arc::new(Suspects::new());
        let cached = config.cache.enabled.then(|| {
            let cache =
                Arc::new(Cache::new(&config.cache, metrics.clone(), Arc::new(config.locality())));
            let (suspects, feeds) = (Arc::clone(&suspects), feeds.clone());
            let sync = CacheSync::new(&cache, suspects, feeds, lifecycle.clone());
            (cache, sync)
        });
        let reporter = feeds.failure_reporter(&lifecycle);
        let resolver = CachedResolver::new(resolver, cached, suspects, lifecycle.clone(), metrics)
            .reporting_to(reporter)
            .preferring(config.locality());
        Ok(DiscoveryClient::new(resolver, feeds, broadcaster, lifecycle, registry_url))
    }
}

impl<H: HostDefaults> Default for DiscoveryClientBuilder<H> {
    fn default() -> Self {
        Self {
            config: DiscoveryConfig::default(),
            registry_url: None,
            scope: Scope::default(),
            token: None,
            token_file: None,
            metrics: None,
            broadcast: BroadcastConfig::default(),
            broadcaster: None,
            reservations: H::reservations(),
            strategies: Vec::new(),
            pools: Pools::default(),
            allows_unsigned: None,
            race: None,
            host: PhantomData,
        }
    }
}

impl<H> fmt::Debug for DiscoveryClientBuilder<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryClientBuilder")
            .field("config", &self.config)
            .field("registry_url", &self.registry_url)
            .field("scope", &self.scope)
            .field("strategies", &self.strategies)
            .finish_non_exhaustive()
    }
}

/// Builds the strategies of a client: the configured ones in order, those with endpoints of an operator
/// first, with the added ones between them, then the other built-in ones, which a lookup can name.
fn links(
    config: &DiscoveryConfig,
    deps: &Deps,
    sources: Sources,
    added: Vec<(Position, Arc<dyn Strategy>)>,
) -> Result<Vec<Link>, InvalidDiscovery> {
    let link = |strategy: Arc<dyn Strategy>, is_default| {
        let kind = strategy.kind();
        let timeout = config.timeouts.limit(&kind);
        let trust = sources.trust_of(&kind);
        let is_off = is_default && sources.is_off(&kind, trust);
        let leases_only = sources.are_unsigned_off();
        Link { strategy, kind, timeout, is_default, trust, is_off, leases_only }
    };
    let builtin = |name: &str, is_default| {
        let row = STRATEGIES.into_iter().find(|row| row.kind.name == name)?;
        let timeout = config.timeouts.limit(&row.kind);
        Some(link((row.build)(deps, timeout), is_default))
    };
    let configured = config.strategies.iter();
    let mut links: Vec<Link> = configured.filter_map(|name| builtin(name.as_str(), true)).collect();
    // With a secret, those that anybody could answer come last.
    let is_last = |link: &Link| sources.has_secret() && link.trust == Trust::Unsigned;
    links.sort_by_key(|link| (!link.kind.configured, is_last(link)));
    for (position, strategy) in added {
        let link = link(strategy, true);
        let name = StrategyName::from(&link.kind);
        let is_taken = |known: &Link| known.kind.name == name.as_str();
        if links.iter().any(is_taken) || StrategyName::all().any(|builtin| builtin == name) {
            return Err(InvalidDiscovery::RepeatedStrategy(name));
        }
        let at = index(&links, &position)
            .map_err(|neighbour| InvalidDiscovery::UnknownPosition { strategy: name, neighbour })?;
        links.insert(at, link);
    }
    let others = StrategyName::all().filter(|name| !config.strategies.contains(name));
    links.extend(others.filter_map(|name| builtin(name.as_str(), false)));
    Ok(links)
}

/// Returns the index of a position, or the name of the strategy that is missing there.
fn index(links: &[Link], position: &Position) -> Result<usize, String> {
    let find = |name: &String| {
        links.iter().position(|link| link.kind.name == name).ok_or_else(|| name.clone())
    };
    match position {
        Position::First => Ok(0),
        Position::Last => Ok(links.len()),
        Position::Before(name) => find(name),
        Position::After(name) => find(name).map(|at| at + 1),
    }
}

#[cfg(test)]
mod tests;
