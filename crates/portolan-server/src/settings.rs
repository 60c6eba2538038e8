//! Portolan's own settings: a section for each component, and the options common to all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use portolan_audit::{AuditConfig, InvalidAuditConfig};
use portolan_broadcast::{BroadcastConfig, BroadcastError};
use portolan_client::{DiscoveryConfig, InvalidDiscovery};
use portolan_config_manager::Loader;
use portolan_core::{Remedy, Scope, Secret};
use portolan_health::HealthConfig;
use portolan_port_allocator::PortAllocatorConfig;
use portolan_registry::{InvalidRegistryConfig, PolicySource, RegistryConfig};
use serde::{Deserialize, Serialize};

use crate::secrets::InvalidSecret;

/// All settings. Each component defines its own section.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The scope of service names. Default: the scope of the stack in this directory, or `default`.
    pub scope: Option<Scope>,
    /// The token that a registry requires and its clients send. Secret. Default none: a registry
    /// on loopback needs none.
    pub token: Option<Secret>,
    /// Where the token is, in place of `token`: a file, or `fd:N` for an open descriptor.
    pub token_file: Option<PathBuf>,
    /// The tokens of registries by their URL, in place of `token`. Secret.
    pub tokens: BTreeMap<String, Secret>,
    /// The token of `discovery.token_file`, once the secrets have been read.
    #[serde(skip)]
    pub client_token: Option<Secret>,
    /// The port allocator.
    pub port_allocator: PortAllocatorConfig,
    /// The service registry.
    pub service_registry: RegistryConfig,
    /// Announcements by broadcast.
    pub broadcast: BroadcastConfig,
    /// Service discovery.
    pub discovery: DiscoveryConfig,
    /// Health checks.
    pub health: HealthConfig,
    /// Logging.
    pub logging: LoggingConfig,
}

/// Why settings are invalid although each value is well formed. Retrying does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] InvalidSecret),
    /// A URL in `tokens` is not one.
    #[error("tokens: {url:?} is not the URL of a registry: {problem}")]
    TokenUrl {
        /// The key.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A service is assigned to a pool that does not exist.
    #[error("port_allocator.services.{service}: unknown pool {pool:?}, expected one of {pools}")]
    Pool {
        /// The service.
        service: String,
        /// Its pool.
        pool: String,
        /// The names of the pools, separated by commas.
        pools: String,
    },
    /// The policies are in the store, and nobody could write the first ones.
    #[error(
        "service_registry.policies: the policies in the store need a token that permits writing them"
    )]
    PoliciesWithoutToken,
    /// The registry's settings are invalid.
    #[error(transparent)]
    Registry(#[from] InvalidRegistryConfig),
    /// The broadcast settings are invalid.
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    /// The discovery settings are invalid.
    #[error(transparent)]
    Discovery(#[from] InvalidDiscovery),
    /// The settings of the audit log are invalid.
    #[error(transparent)]
    Audit(#[from] InvalidAuditConfig),
}

/// The settings of logging.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingConfig {
    /// The level: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `info,portolan_broadcast=debug`. Default `info` for `serve`, which is observed by its logs,
    /// and `warn` for all other commands, which are observed by their output.
    pub level: Option<String>,
    /// Text for people or JSON for programs. Default `text`.
    pub format: LogFormat,
    /// The audit log.
    pub audit: AuditConfig,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The top-level keys of `portolan.yaml` that describe a stack instead of settings.
pub const STACK_KEYS: [&str; 2] = ["name", "services"];

// === impl InvalidSettings ===

impl InvalidSettings {
    /// Returns the path of the invalid setting, such as `discovery.strategies`.
    pub fn path(&self) -> String {
        match self {
            Self::Secret(error) => error.path(),
            Self::TokenUrl { .. } => "tokens".to_owned(),
            Self::Pool { service, .. } => format!("port_allocator.services.{service}"),
            Self::PoliciesWithoutToken => "service_registry.policies".to_owned(),
            Self::Registry(error) => error.path(),
            Self::Broadcast(BroadcastError::Setting { setting, .. }) => {
                format!("broadcast.{setting}")
            }
            Self::Broadcast(BroadcastError::Key { setting, .. }) => {
                let whole = setting.split(['[', '.']).next().unwrap_or_default();
                format!("broadcast.{whole}")
            }
            Self::Broadcast(BroadcastError::Ttl(_)) => "broadcast.ttl".to_owned(),
            Self::Broadcast(_) => "broadcast".to_owned(),
            Self::Discovery(error) => error.path(),
            Self::Audit(error) => error.path(),
        }
    }
}

impl Remedy for InvalidSettings {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Secret(error) => error.remedy(),
            Self::TokenUrl { .. } => Some("write it as in discovery.registry_url".into()),
            Self::Pool { .. } => Some("add the pool to port_allocator.port_ranges".into()),
            Self::PoliciesWithoutToken => Some("set token_file or PORTOLAN_TOKEN".into()),
            Self::Registry(error) => error.remedy(),
            Self::Discovery(error) => error.remedy(),
            Self::Audit(error) => error.remedy(),
            Self::Broadcast(error) => error.remedy(),
        }
    }
}

// === impl Settings ===

impl Settings {
    /// Whether clients of the registry need credentials.
    pub fn requires_credentials(&self) -> bool {
        let RegistryConfig { policies, require_client_certificate, .. } = &self.service_registry;
        self.token.is_some() || policies.is_some() || *require_client_certificate
    }

    /// Checks every constraint that the types do not express, as each component does when it starts.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        let PortAllocatorConfig { services, port_ranges, .. } = &self.port_allocator;
        if let Some((service, pool)) = services.iter().find(|(_, p)| !port_ranges.contains_key(*p))
        {
            let (service, pool) = (service.clone(), pool.clone());
            let pools: Vec<_> = port_ranges.keys().map(String::as_str).collect();
            return Err(InvalidSettings::Pool { service, pool, pools: pools.join(", ") });
        }
        for url in self.tokens.keys() {
            portolan_client::normalized_url(url).map_err(|error| InvalidSettings::TokenUrl {
                url: url.clone(),
                problem: error.to_string(),
            })?;
        }
        self.service_registry.validate()?;
        let has_token = self.token.is_some() || self.token_file.is_some();
        if self.service_registry.policies == Some(PolicySource::Store) && !has_token {
            return Err(InvalidSettings::PoliciesWithoutToken);
        }
        self.broadcast.validate()?;
        self.logging.audit.validate()?;
        Ok(self.discovery.validate()?)
    }

    /// Returns a loader of the settings: defaults, these files, environment.
    pub fn loader(files: impl IntoIterator<Item = PathBuf>) -> Loader<Self> {
        let loader = Loader::new()
            .environment(std::env::vars_os())
            .reserve("PORTOLAN_CONFIG", None)
            .reserve("PORTOLAN_REPLICA", None)
            .reserve("PORTOLAN_RUN", None)
            .reserve("PORTOLAN_REGISTRY_URL", Some("discovery.registry_url"))
            .reserve("PORTOLAN_BROADCAST_KEY", Some("broadcast.key"))
            .secret("token")
            .secret("tokens")
            .secret("broadcast.key")
            .never_empty("token")
            .never_empty("token_file")
            .never_empty("broadcast.key")
            .never_empty("broadcast.key_file")
            .open("port_allocator.port_ranges");
        let loader = STACK_KEYS.into_iter().fold(loader, Loader::foreign);
        files.into_iter().fold(loader, Loader::file)
    }
}

#[cfg(test)]
mod tests {
    use portolan_audit::AuditSink;

    use super::*;

    fn error_after(change: impl FnOnce(&mut Settings)) -> InvalidSettings {
        let mut settings = Settings::default();
        change(&mut settings);
        let error = settings.validate().unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: ", error.path())), "{error}");
        error
    }

    #[test]
    fn defaults_are_valid() {
        Settings::default().validate().unwrap();
    }

    #[test]
    fn invalid_setting_of_any_section_is_rejected_with_its_key() {
        let error = error_after(|settings| {
            let services = &mut settings.port_allocator.services;
            services.insert("x".to_owned(), "databse".to_owned());
        });
        insta::assert_snapshot!(error.with_remedy());
        let error = error_after(|settings| settings.service_registry.history = 0);
        assert!(error.to_string().starts_with("service_registry.history: "), "{error}");
        let error = error_after(|settings| settings.broadcast.max_datagram = 1);
        assert!(error.to_string().starts_with("broadcast.max_datagram: "), "{error}");
        let error = error_after(|settings| settings.broadcast.key = Some("hunter2".into()));
        assert!(error.to_string().starts_with("broadcast.key: the key has 7 bytes"), "{error}");
        let error = error_after(|settings| settings.logging.audit.keep = 0);
        assert!(error.to_string().starts_with("logging.audit.keep: "), "{error}");
        let error = error_after(|settings| settings.logging.audit.sink = AuditSink::File);
        assert!(error.to_string().starts_with("logging.audit.file: "), "{error}");
        let error = error_after(|settings| settings.discovery.strategies.clear());
        assert!(error.to_string().starts_with("discovery.strategies: "), "{error}");
    }
}
