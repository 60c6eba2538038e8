//! The section `discovery` of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use portolan_core::ServiceName;
use portolan_core::duration::text;
use serde::{Deserialize, Serialize};

use crate::registry_client::{RegistryClientConfig, base_url};
use crate::strategies::config_file::ConfiguredEndpoints;
use crate::strategies::dns::{DnsConfig, InvalidDomain};
use crate::{RegistryClientError, StrategyName};

/// How services are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// Whether to discover at all. Default true.
    pub enabled: bool,
    /// The registry's address. Default `http://localhost:7000`, where a registry listens unless
    /// told otherwise. Left at the default, a registry of the own scope that holds another port on
    /// this host is taken instead.
    pub registry_url: String,
    /// Whom to ask, in this order; the first that finds something wins. Default all five: `default`,
    /// `registry`, `broadcast`, `dns`, `config`.
    pub strategies: Vec<StrategyName>,
    /// How long each of them may take.
    pub timeouts: Timeouts,
    /// How often to ask a registry again that cannot be reached, within its time limit, waiting
    /// longer each time. Default 3, as specified.
    pub retries: u32,
    /// What was found is kept here.
    pub cache: CacheConfig,
    /// What the strategy `dns` asks.
    pub dns: DnsConfig,
    /// What the strategy `config` answers: a service's name, and its endpoint as `host:port`, as a
    /// URL, as `{host, port, protocol, version, metadata}`, or a list of these. Default empty.
    pub endpoints: BTreeMap<ServiceName, ConfiguredEndpoints>,
    /// Services that have a port of their own on this host by convention, for the strategy
    /// `default`: a name and its port. Default empty; `postgres`, `redis` and the like are known.
    pub default_ports: BTreeMap<ServiceName, NonZeroU16>,
}

/// How long finding may take. Each strategy has its own limit, retries included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Connecting to the default port and shaking hands. Default 100 ms: it is on this host.
    #[serde(with = "text")]
    pub default_port_check: Duration,
    /// Asking the registry. Default 1 s.
    #[serde(with = "text")]
    pub registry_lookup: Duration,
    /// Waiting for an answer on the broadcast channel. Default 5 s, as specified; an answer ends
    /// the wait at once.
    #[serde(with = "text")]
    pub broadcast_wait: Duration,
    /// Asking the name servers. Default 2 s.
    #[serde(with = "text")]
    pub dns_resolution: Duration,
    /// All of them together. Default 10 s: a little more than their sum.
    #[serde(with = "text")]
    pub overall: Duration,
}

/// How long what was found is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Whether to keep anything. Default true.
    pub enabled: bool,
    /// How long an entry is fresh. Default 5 min: changes that are heard of update it at once,
    /// so this bounds only what nobody tells.
    #[serde(with = "text")]
    pub ttl: Duration,
    /// How many services are kept; the least used goes first. Default 1000.
    pub max_entries: usize,
}

/// What is wrong with the settings. Retrying does not help: they must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDiscovery {
    /// Nobody to ask.
    #[error("discovery.strategies: is empty; name at least one of {}", StrategyName::list())]
    NoStrategy,
    /// A strategy stands there twice.
    #[error("discovery.strategies: {0} stands there twice; name each one once")]
    RepeatedStrategy(StrategyName),
    /// A time limit of nothing.
    #[error("discovery.timeouts.{0}: no time at all; give it a duration such as 1s")]
    NoTime(&'static str),
    /// A cache without room.
    #[error("discovery.cache.max_entries: 0 keeps nothing; set discovery.cache.enabled to false")]
    NoRoom,
    /// The registry's address or token is none.
    #[error("discovery.registry_url: {0}")]
    Registry(#[source] RegistryClientError),
    /// The domain is none.
    #[error("discovery.dns.domain: {0}")]
    Domain(#[source] InvalidDomain),
}

// === impl DiscoveryConfig ===

impl DiscoveryConfig {
    /// Checks what the types do not carry.
    pub fn validate(&self) -> Result<(), InvalidDiscovery> {
        if self.strategies.is_empty() {
            return Err(InvalidDiscovery::NoStrategy);
        }
        let mut seen = BTreeSet::new();
        for strategy in &self.strategies {
            if !seen.insert(strategy.as_str()) {
                return Err(InvalidDiscovery::RepeatedStrategy(*strategy));
            }
        }
        if self.cache.enabled && self.cache.max_entries == 0 {
            return Err(InvalidDiscovery::NoRoom);
        }
        self.dns.validate().map_err(InvalidDiscovery::Domain)?;
        base_url(&self.registry_url).map_err(InvalidDiscovery::Registry)?;
        self.timeouts.validate()
    }

    /// Whether the registry's address is the one that stands there unless told otherwise.
    pub(crate) fn has_default_registry(&self) -> bool {
        self.registry_url == Self::default().registry_url
    }
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            registry_url: RegistryClientConfig::default().url,
            strategies: StrategyName::all().collect(),
            timeouts: Timeouts::default(),
            retries: 3,
            cache: CacheConfig::default(),
            dns: DnsConfig::default(),
            endpoints: BTreeMap::new(),
            default_ports: BTreeMap::new(),
        }
    }
}

// === impl Timeouts ===

impl Timeouts {
    fn validate(&self) -> Result<(), InvalidDiscovery> {
        let limits = [
            ("default_port_check", self.default_port_check),
            ("registry_lookup", self.registry_lookup),
            ("broadcast_wait", self.broadcast_wait),
            ("dns_resolution", self.dns_resolution),
            ("overall", self.overall),
        ];
        match limits.iter().find(|(_, limit)| limit.is_zero()) {
            Some((name, _)) => Err(InvalidDiscovery::NoTime(name)),
            None => Ok(()),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            default_port_check: Duration::from_millis(100),
            registry_lookup: Duration::from_secs(1),
            broadcast_wait: Duration::from_secs(5),
            dns_resolution: Duration::from_secs(2),
            overall: Duration::from_secs(10),
        }
    }
}

// === impl CacheConfig ===

impl Default for CacheConfig {
    fn default() -> Self {
        Self { enabled: true, ttl: Duration::from_secs(5 * 60), max_entries: 1000 }
    }
}

#[cfg(test)]
mod tests;
