//! The section `discovery` of the configuration.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use portolan_core::duration::text;
use portolan_core::{Protocol, Remedy, ServiceName, TlsConfig, unique_names};
use serde::{Deserialize, Serialize};

use crate::dns_config::{DnsConfig, InvalidDomain};
use crate::locality::Locality;
use crate::registry_client::{RegistryClientConfig, RegistryClientError, check_urls};
use crate::static_endpoints::ConfiguredEndpoints;
use crate::strategy_name::StrategyName;
use crate::timeouts::Timeouts;

/// The settings of the discovery client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// Whether discovery is enabled. Default true.
    pub enabled: bool,
    /// The registry's URL. Default `http://localhost:7000`. If it is left at the default, a registry
    /// of the client's scopes that holds another port on this host is used instead.
    pub registry_url: String,
    /// The URLs of several servers over one store, in place of `registry_url`. Default empty. A client uses one of
    /// them, chosen at random, until it does not respond.
    pub registry_urls: Vec<String>,
    /// The certificates of an `https://` registry: the authorities that are trusted, those of the system by default, and
    /// the certificate of this client. The files are read again when they have changed.
    pub tls: TlsConfig,
    /// The file with the token that clients send to the registry, in place of `token` and `token_file`, which a registry requires of its
    /// clients. `fd:N` is an open descriptor. The file is read again when the registry refuses the token. Default none: the common token.
    pub token_file: Option<PathBuf>,
    /// The strategies in the order in which they are asked; the first that finds an instance wins.
    /// Default: `default`, `registry`, `broadcast`, `dns`, `config`; in a pod of Kubernetes also `kubernetes`, after `registry`.
    pub strategies: Vec<StrategyName>,
    /// Whether a strategy starts 50 ms after the one before it although that one still runs. The earliest in the order
    /// that finds an instance wins; once a later one has found an instance, those before it get 250 ms more. Default
    /// false: each strategy starts when the one before it has ended.
    pub race: bool,
    /// How long each strategy, and all of them together, may take.
    pub timeouts: Timeouts,
    /// How often a registry that cannot be reached is asked again, within its timeout and with
    /// exponential backoff. Default 3.
    pub retries: u32,
    /// The cache of results.
    pub cache: CacheConfig,
    /// The settings of the strategy `dns`.
    pub dns: DnsConfig,
    /// The endpoints of the strategy `config` by service name: `host:port`, a URL,
    /// `{host, port, protocol, version, metadata}`, or a list of these. Default empty.
    #[serde(deserialize_with = "unique_names")]
    pub endpoints: BTreeMap<ServiceName, ConfiguredEndpoints>,
    /// The well-known ports of services on this host, for the strategy `default`, in addition to
    /// the built-in ones of `postgres`, `redis` and so on. Default empty.
    #[serde(deserialize_with = "unique_names")]
    pub default_ports: BTreeMap<ServiceName, NonZeroU16>,
    /// The zone of this host: instances whose metadata entry `zone` is this one are selected before others that are as usable.
    /// Default none.
    pub zone: Option<String>,
    /// Whether instances on this host are selected before all others that are as usable, those of the zone included. Default
    /// false.
    pub prefer_same_host: bool,
    /// The user as which the registry on this host runs, by name or number, beside this user and root: no other user gets the
    /// token. Default none.
    pub registry_user: Option<String>,
    /// Protocols that are given to programs as the scheme of a URL, in addition to those of known servers such as
    /// `http` and `postgres`. Default empty.
    pub url_schemes: BTreeSet<Protocol>,
}

/// The settings of the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Whether results are cached. Default true.
    pub enabled: bool,
    /// How long an entry is fresh. Default 5 min. The registry's watch and the broadcast channel
    /// update entries at once, so the TTL bounds only changes that neither reports.
    #[serde(with = "text")]
    pub ttl: Duration,
    /// The maximum number of services; the least used is evicted first. Default 1000.
    pub max_entries: usize,
}

/// A setting that is not valid. Retrying does not help: the setting must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDiscovery {
    /// No strategy.
    #[error("discovery.strategies: empty; expected at least one of {}", StrategyName::list())]
    NoStrategy,
    /// A strategy is listed twice.
    #[error("discovery.strategies: duplicate strategy `{0}`")]
    RepeatedStrategy(StrategyName),
    /// A strategy is to be inserted beside one that is not in the order.
    #[error("no strategy {neighbour:?} beside which `{strategy}` could be inserted")]
    UnknownPosition {
        /// The strategy to insert.
        strategy: StrategyName,
        /// The name of the strategy that is missing in the order.
        neighbour: String,
    },
    /// A timeout of zero.
    #[error("discovery.timeouts.{0}: must be greater than zero, such as 1s")]
    NoTime(&'static str),
    /// A cache without entries.
    #[error("discovery.cache.max_entries: must be greater than zero")]
    NoRoom,
    /// A zone without a name.
    #[error("discovery.zone: empty; expected the name of a zone, such as eu-1a")]
    EmptyZone,
    /// The registry's URL is not valid.
    #[error("discovery.registry_url: {0}")]
    Registry(#[source] RegistryClientError),
    /// The token or the certificates cannot be used.
    #[error(transparent)]
    Credentials(RegistryClientError),
    /// One of the URLs is not valid.
    #[error("discovery.registry_urls: {0}")]
    Registries(#[source] RegistryClientError),
    /// The domain is not valid.
    #[error("discovery.dns.domain: {0}")]
    Domain(#[source] InvalidDomain),
}

// === impl DiscoveryConfig ===

impl DiscoveryConfig {
    /// Checks the rules that the types do not express.
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
        if self.zone.as_ref().is_some_and(|zone| zone.trim().is_empty()) {
            return Err(InvalidDiscovery::EmptyZone);
        }
        self.dns.domain().map_err(InvalidDiscovery::Domain)?;
        check_urls(&self.registry_url).map_err(InvalidDiscovery::Registry)?;
        for url in &self.registry_urls {
            check_urls(url).map_err(InvalidDiscovery::Registries)?;
        }
        self.timeouts.zero().map_or(Ok(()), |key| Err(InvalidDiscovery::NoTime(key)))
    }

    /// Returns the URLs of the registry's servers, separated by commas.
    pub fn registry(&self) -> String {
        match self.registry_urls.is_empty() {
            true => self.registry_url.clone(),
            false => self.registry_urls.join(","),
        }
    }

    /// Returns which instances are preferred.
    pub(crate) fn locality(&self) -> Locality {
        Locality { same_host: self.prefer_same_host, zone: self.zone.clone() }
    }

    /// Returns the same if it differs from the default.
    pub(crate) fn explicit_registry(&self) -> Option<String> {
        let url = self.registry();
        (url != RegistryClientConfig::default().url).then_some(url)
    }
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            registry_url: RegistryClientConfig::default().url,
            registry_urls: Vec::new(),
            token_file: None,
            tls: TlsConfig::default(),
            strategies: StrategyName::by_default().collect(),
            race: false,
            timeouts: Timeouts::default(),
            retries: 3,
            cache: CacheConfig::default(),
            dns: DnsConfig::default(),
            endpoints: BTreeMap::new(),
            default_ports: BTreeMap::new(),
            zone: None,
            prefer_same_host: false,
            registry_user: None,
            url_schemes: BTreeSet::new(),
        }
    }
}

// === impl CacheConfig ===

impl Default for CacheConfig {
    fn default() -> Self {
        Self { enabled: true, ttl: Duration::from_secs(5 * 60), max_entries: 1000 }
    }
}

// === impl InvalidDiscovery ===

impl InvalidDiscovery {
    /// The setting that a client of the registry cannot be made of.
    pub(crate) fn of_registry(error: RegistryClientError) -> Self {
        match error {
            RegistryClientError::InvalidUrl { .. } => Self::Registry(error),
            _ => Self::Credentials(error),
        }
    }

    /// Returns the path of the invalid setting, such as `discovery.strategies`.
    pub fn path(&self) -> String {
        let key = match self {
            Self::NoStrategy | Self::RepeatedStrategy(_) | Self::UnknownPosition { .. } => {
                "strategies"
            }
            Self::NoTime(key) => return format!("discovery.timeouts.{key}"),
            Self::NoRoom => "cache.max_entries",
            Self::EmptyZone => "zone",
            Self::Registry(_) => "registry_url",
            Self::Credentials(RegistryClientError::InvalidTls { .. }) => "tls",
            Self::Credentials(_) => "token_file",
            Self::Registries(_) => "registry_urls",
            Self::Domain(_) => "dns.domain",
        };
        format!("discovery.{key}")
    }
}

impl Remedy for InvalidDiscovery {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::RepeatedStrategy(_) => Some("list each strategy once".into()),
            Self::UnknownPosition { .. } => {
                Some("use Position::First or Position::Last, or add the other strategy".into())
            }
            Self::NoRoom => {
                Some("set discovery.cache.enabled to false to turn the cache off".into())
            }
            Self::Registry(error) | Self::Registries(error) | Self::Credentials(error) => {
                error.remedy()
            }
            Self::Domain(error) => error.remedy(),
            Self::EmptyZone => Some("remove the setting if this host has no zone".into()),
            Self::NoStrategy | Self::NoTime(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
