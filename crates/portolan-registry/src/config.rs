//! The registry's settings: section `service_registry` of the configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portolan_core::{InvalidDuration, REGISTRY_PORT, Ttl};
use serde::{Deserialize, Serialize};

/// The settings of the service registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// Whether the server runs a registry at all. Default true.
    pub enabled: bool,
    /// The address and port that the HTTP API listens on. Default `0.0.0.0:7000`: other machines
    /// shall find it; give `127.0.0.1:7000` where they shall not.
    pub listen_address: SocketAddr,
    /// What keeps the endpoints. Default `memory`: nothing to install, and services register
    /// again by themselves after a restart.
    pub storage_backend: StorageBackend,
    /// How long an endpoint that names no TTL stays without a sign of life, from 1 s to 24 h.
    /// Default 60 s: two announce intervals, so that one lost heartbeat ends nothing.
    #[serde(with = "portolan_core::duration::text")]
    pub ttl_default: Duration,
    /// How often all leases are looked over for one that the timer queue missed, from 1 s to 24 h.
    /// Default 30 s: leases end on time without it, so it need not be often.
    #[serde(with = "portolan_core::duration::text")]
    pub cleanup_interval: Duration,
    /// How many endpoints are kept. Default 100,000: about 150 MB with ordinary metadata. Half
    /// of them at most may come from broadcast, so that strangers on the network cannot keep
    /// services from registering.
    pub max_endpoints: usize,
    /// How many changes are kept for watches to resume from. Default 10,000: ten minutes at some
    /// 16 changes a second. A watch that was away for longer gets a snapshot.
    pub history: usize,
    /// Whether endpoints heard on the broadcast channels are taken in. Default true: it joins
    /// network segments that do not hear each other.
    pub import_broadcast: bool,
}

/// What keeps the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StorageBackend {
    /// This process, until it ends.
    #[default]
    Memory,
    /// An etcd cluster.
    Etcd,
    /// A Consul cluster.
    Consul,
}

/// Why settings cannot be used. Retrying does not help: they must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRegistryConfig {
    /// A backend that this version does not have.
    #[error(
        "service_registry.storage_backend: {0} is not built into this version; use memory, with which services register again by themselves after a restart"
    )]
    Backend(&'static str),
    /// The default TTL is none.
    #[error("service_registry.ttl_default: {0}")]
    TtlDefault(#[source] InvalidDuration),
    /// The interval lies outside its bounds.
    #[error(
        "service_registry.cleanup_interval: {} is out of bounds; it lies between 1s and 24h",
        portolan_core::duration::format_duration(*.0)
    )]
    CleanupInterval(Duration),
    /// A limit that would keep everything out, or lets too much in.
    #[error("service_registry.{key}: {value} is out of bounds; it lies between 1 and {limit}")]
    Limit {
        /// The setting.
        key: &'static str,
        /// What it says.
        value: usize,
        /// The most it may say.
        limit: usize,
    },
}

/// The most that `max_endpoints` and `history` may be: beyond it a typing error is likelier.
const LIMIT: usize = 10_000_000;

// === impl RegistryConfig ===

impl RegistryConfig {
    /// Checks every bound that the types do not carry.
    pub fn validate(&self) -> Result<(), InvalidRegistryConfig> {
        self.storage_backend.check()?;
        self.ttl()?;
        if !(Ttl::MIN..=Ttl::MAX).contains(&self.cleanup_interval) {
            return Err(InvalidRegistryConfig::CleanupInterval(self.cleanup_interval));
        }
        check_limit("max_endpoints", self.max_endpoints)?;
        check_limit("history", self.history)
    }

    /// The default TTL, within its bounds.
    pub(crate) fn ttl(&self) -> Result<Ttl, InvalidRegistryConfig> {
        Ttl::new(self.ttl_default).map_err(InvalidRegistryConfig::TtlDefault)
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, REGISTRY_PORT)),
            storage_backend: StorageBackend::Memory,
            ttl_default: Ttl::DEFAULT.duration(),
            cleanup_interval: Duration::from_secs(30),
            max_endpoints: 100_000,
            history: 10_000,
            import_broadcast: true,
        }
    }
}

// === impl StorageBackend ===

impl StorageBackend {
    fn check(self) -> Result<(), InvalidRegistryConfig> {
        match self {
            Self::Memory => Ok(()),
            Self::Etcd => Err(InvalidRegistryConfig::Backend("etcd")),
            Self::Consul => Err(InvalidRegistryConfig::Backend("consul")),
        }
    }
}

fn check_limit(key: &'static str, value: usize) -> Result<(), InvalidRegistryConfig> {
    match (1..=LIMIT).contains(&value) {
        true => Ok(()),
        false => Err(InvalidRegistryConfig::Limit { key, value, limit: LIMIT }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_specification() {
        let json = serde_json::to_value(RegistryConfig::default()).unwrap();
        assert_eq!(json["listen_address"], "0.0.0.0:7000");
        assert_eq!(json["storage_backend"], "memory");
        let specified = serde_json::json!({
            "enabled": true, "listen_address": "0.0.0.0:7000", "storage_backend": "memory",
            "ttl_default": "60s", "cleanup_interval": "30s",
        });
        let read: RegistryConfig = serde_json::from_value(specified).unwrap();
        assert_eq!(read, RegistryConfig::default());
        read.validate().unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_key() {
        for (json, expected) in [
            (r#"{"storage_backend": "etcd"}"#, "storage_backend: etcd is not built"),
            (r#"{"storage_backend": "consul"}"#, "storage_backend: consul is not built"),
            (r#"{"ttl_default": "500ms"}"#, "ttl_default: a TTL of 500ms"),
            (r#"{"cleanup_interval": "0s"}"#, "cleanup_interval: 0s is out of bounds"),
            (r#"{"max_endpoints": 0}"#, "max_endpoints: 0 is out of bounds"),
            (r#"{"history": 20000000}"#, "history: 20000000 is out of bounds"),
        ] {
            let config: RegistryConfig = serde_json::from_str(json).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
        assert!(serde_json::from_str::<RegistryConfig>(r#"{"ttl": "60s"}"#).is_err());
    }
}
