//! Portolan's own settings: one section a part, and what the command line sets for all of them.

use std::path::PathBuf;

use portolan_broadcast::BroadcastConfig;
use portolan_client::DiscoveryConfig;
use portolan_config_manager::Loader;
use portolan_core::Scope;
use portolan_health::HealthConfig;
use portolan_port_allocator::PortAllocatorConfig;
use portolan_registry::RegistryConfig;
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
