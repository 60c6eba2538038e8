//! The errors of the registry's settings.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use portolan_core::{InvalidDuration, Remedy};

/// Why the settings of the registry are invalid. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRegistryConfig {
    /// The storage backend is not part of this version.
    #[error("service_registry.storage_backend: {0} is not built into this version")]
    Backend(&'static str),
    /// The storage backend keeps nothing in a directory.
    #[error("service_registry.data_dir: the storage backend {0} does not use a directory")]
    DataDir(&'static str),
    /// The data directory begins with `~`.
    #[error("service_registry.data_dir: {} begins with ~, which only a shell replaces", .0.display())]
    DataDirTilde(PathBuf),
    /// The data directory is empty text.
    #[error("service_registry.data_dir: it is empty, expected a directory")]
    DataDirEmpty,
    /// A setting of the store `etcd` is invalid, or its file cannot be read.
    #[error("service_registry.etcd.{key}: {problem}")]
    Etcd {
        /// The key of the setting.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A setting of the protection against a mass expiry is out of bounds.
    #[error("service_registry.mass_expiry.{key}: {problem}")]
    MassExpiry {
        /// The key of the setting.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A limit of clients is out of bounds.
    #[error("service_registry.clients.{key}: {value} is out of bounds, expected 1 to {limit}")]
    Clients {
        /// The key of the setting.
        key: &'static str,
        /// The value.
        value: usize,
        /// The largest valid value.
        limit: usize,
    },
    /// A setting of the store `consul` is invalid, or its file cannot be read.
    #[error("service_registry.consul.{key}: {problem}")]
    Consul {
        /// The key of the setting.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// The advertised URL cannot be used.
    #[error("service_registry.advertise_url: {0}")]
    AdvertiseUrl(String),
    /// The default TTL is out of bounds.
    #[error("service_registry.ttl_default: {0}")]
    TtlDefault(#[source] InvalidDuration),
    /// The cleanup interval is out of bounds.
    #[error(
        "service_registry.cleanup_interval: {} is out of bounds, expected 1s to 24h",
        portolan_core::duration::format_duration(*.0)
    )]
    CleanupInterval(Duration),
    /// The largest age of the view is out of bounds.
    #[error(
        "service_registry.max_view_age: {} is out of bounds, expected 2s to 24h",
        portolan_core::duration::format_duration(*.0)
    )]
    MaxViewAge(Duration),
    /// A limit is out of bounds.
    #[error("service_registry.{key}: {value} is out of bounds, expected 1 to {limit}")]
    Limit {
        /// The key of the setting.
        key: &'static str,
        /// The value.
        value: usize,
        /// The largest valid value.
        limit: usize,
    },
}

// === impl InvalidRegistryConfig ===

impl InvalidRegistryConfig {
    /// Returns the path of the invalid setting, such as `service_registry.history`.
    pub fn path(&self) -> String {
        let key = match self {
            Self::Backend(_) => "storage_backend",
            Self::DataDir(_) | Self::DataDirEmpty | Self::DataDirTilde(_) => "data_dir",
            Self::AdvertiseUrl(_) => "advertise_url",
            Self::TtlDefault(_) => "ttl_default",
            Self::CleanupInterval(_) => "cleanup_interval",
            Self::MaxViewAge(_) => "max_view_age",
            Self::Limit { key, .. } => key,
            Self::Etcd { key, .. } => return format!("service_registry.etcd.{key}"),
            Self::MassExpiry { key, .. } => return format!("service_registry.mass_expiry.{key}"),
            Self::Clients { key, .. } => return format!("service_registry.clients.{key}"),
            Self::Consul { key, .. } => return format!("service_registry.consul.{key}"),
        };
        format!("service_registry.{key}")
    }
}

impl Remedy for InvalidRegistryConfig {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Backend(_) => Some(
                "install a release of Portolan, which has it, or build it with `cargo build --release \
                 -p portolan-cli --features full`, or use memory"
                    .into(),
            ),
            Self::DataDirEmpty => Some("leave it out to keep nothing".into()),
            Self::DataDirTilde(_) => Some(
                "write the whole path, such as /home/ann/registry; a directory whose name begins with ~ is ./~name".into(),
            ),
            Self::AdvertiseUrl(_) => Some(
                "set it to the URL at which clients reach this server, such as http://registry-1:7000, or remove it".into(),
            ),
            Self::DataDir(_) => Some("remove it, or set storage_backend to memory".into()),
            Self::Etcd { .. }
            | Self::MassExpiry { .. }
            | Self::Clients { .. }
            | Self::Consul { .. }
            | Self::TtlDefault(_)
            | Self::CleanupInterval(_)
            | Self::MaxViewAge(_)
            | Self::Limit { .. } => None,
        }
    }
}
