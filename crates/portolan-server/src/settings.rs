//! Portolan's own settings: one section a part, and what the command line sets for all of them.

use std::path::PathBuf;

use portolan_broadcast::{BroadcastConfig, BroadcastError};
use portolan_client::{DiscoveryConfig, InvalidDiscovery};
use portolan_config_manager::Loader;
use portolan_core::Scope;
use portolan_health::HealthConfig;
use portolan_port_allocator::PortAllocatorConfig;
use portolan_registry::{InvalidRegistryConfig, RegistryConfig};
use serde::{Deserialize, Serialize};

/// Every setting. Each part describes its own section.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The scope of names; where nothing is said, the stack's of this folder, else `default`.
    pub scope: Option<Scope>,
    /// The token that a registry asks for and its clients show. Secret; none by default, since a
    /// registry on one's own machine needs none.
    pub token: Option<String>,
    /// How ports are allocated.
    pub port_allocator: PortAllocatorConfig,
    /// How the registry is kept and served.
    pub service_registry: RegistryConfig,
    /// How services are announced.
    pub broadcast: BroadcastConfig,
    /// How services are found.
    pub discovery: DiscoveryConfig,
    /// How health is checked.
    pub health: HealthConfig,
    /// What is logged.
    pub logging: LoggingConfig,
}

/// Why settings cannot be used though each of them can be read. Retrying does not help: they must
/// change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// A service is to get its port from a pool that there is none of.
    #[error(
        "port_allocator.services.{service}: there is no pool {pool:?}; use one of {pools}, or add it to port_allocator.port_ranges"
    )]
    Pool {
        /// The service.
        service: String,
        /// Its pool.
        pool: String,
        /// The names that there are, as a text.
        pools: String,
    },
    /// Those of the registry.
    #[error(transparent)]
    Registry(#[from] InvalidRegistryConfig),
    /// Those of the broadcast channel.
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    /// Those of the discovery client.
    #[error(transparent)]
    Discovery(#[from] InvalidDiscovery),
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingConfig {
    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
    /// `info,portolan_broadcast=debug`. Where nothing is said, `serve` logs at `info` and every
    /// other command at `warn`: a server is read in its logs, a command in its output.
    pub level: Option<String>,
    /// As text for people or as JSON for programs. Default `text`.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The top-level keys of `portolan.yaml` that describe a stack and are no settings.
pub const STACK_KEYS: [&str; 2] = ["name", "services"];

// === impl Settings ===

impl Settings {
    /// Checks what the types do not carry, as each part does when it is started.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        let PortAllocatorConfig { services, port_ranges, .. } = &self.port_allocator;
        if let Some((service, pool)) = services.iter().find(|(_, p)| !port_ranges.contains_key(*p))
        {
            let (service, pool) = (service.clone(), pool.clone());
            let pools: Vec<_> = port_ranges.keys().map(String::as_str).collect();
            return Err(InvalidSettings::Pool { service, pool, pools: pools.join(", ") });
        }
        self.service_registry.validate()?;
        self.broadcast.validate()?;
        Ok(self.discovery.validate()?)
    }

    /// What loads the settings: the defaults, these files, and the environment.
    pub fn loader(files: impl IntoIterator<Item = PathBuf>) -> Loader<Self> {
        let loader = Loader::new()
            .environment(std::env::vars_os())
            .reserve("PORTOLAN_CONFIG", None)
            .reserve("PORTOLAN_REGISTRY_URL", Some("discovery.registry_url"))
            .reserve("PORTOLAN_BROADCAST_KEY", Some("broadcast.key"))
            .secret("token")
            .secret("broadcast.key")
            .open("port_allocator.port_ranges");
        let loader = STACK_KEYS.into_iter().fold(loader, Loader::foreign);
        files.into_iter().fold(loader, Loader::file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_of(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        Settings::default().validate().unwrap();
    }

    #[test]
    fn what_a_part_would_refuse_is_refused_with_its_key() {
        let problem = problem_of(|settings| {
            settings.port_allocator.services.insert("x".to_owned(), "databse".to_owned());
        });
        assert!(problem.starts_with("port_allocator.services.x: "), "{problem}");
        assert!(problem.contains("databse") && problem.contains("database"), "{problem}");
        let problem = problem_of(|settings| settings.service_registry.history = 0);
        assert!(problem.starts_with("service_registry.history: "), "{problem}");
        let problem = problem_of(|settings| settings.broadcast.max_datagram = 1);
        assert!(problem.starts_with("broadcast.max_datagram: "), "{problem}");
        let problem = problem_of(|settings| settings.discovery.strategies.clear());
        assert!(problem.starts_with("discovery.strategies: "), "{problem}");
    }
}
