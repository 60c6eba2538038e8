//! The settings of the port allocator: section `port_allocator` of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portolan_core::{PoolRange, Pools};
use portolan_host_facts::{DirectoryError, directories};
use serde::{Deserialize, Serialize};

use crate::limits::PortLimits;

/// The settings of the port allocator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortAllocatorConfig {
    /// Whether ports are allocated at all. Default true; if false, every allocation is refused,
    /// and `holders` and `check` still answer.
    pub enabled: bool,
    /// Whether a service whose range is used up gets any port of the system's ephemeral range.
    /// Default false: clients do not expect the service on such a port.
    pub allow_ephemeral: bool,
    /// The pools by name, each with its range and its default port. Default: the six pools of the
    /// specification.
    pub port_ranges: BTreeMap<String, PoolRange>,
    /// Whether only ports of the pools are allocated, and with `allow_ephemeral` ephemeral ones. Default false: a port that is
    /// explicitly requested is granted if it is free.
    pub restrict_to_ranges: bool,
    /// Ports that are never allocated. Default 22, 80 and 443: SSH and the web servers, which have
    /// no other port to go to.
    pub reserved_ports: Vec<u16>,
    /// How many leases one service, and one user, may hold at once. Default 1,000 and 20,000: what
    /// takes more than that is most likely a loop, and a third of all ports is left for others.
    pub quota: PortLimits,
    /// How many ports one service, and one user, may ask for in a second; each may also come at once. Default 10,000 and 20,000: more than any start needs, and less than a loop takes.
    pub rate_limit: PortLimits,
    /// The pool of a service, by the service's name, if the name does not imply it. Default empty.
    pub services: BTreeMap<String, String>,
    /// Whether a service gets the port that it had last time, if that is free. Default true: a
    /// port that stays the same is a port that people and firewalls can rely on.
    pub sticky: bool,
    /// Where the table of reservations is. Default none, which is the first of these that only this user can
    /// change: `portolan` in `$XDG_RUNTIME_DIR`, `$RUNTIME_DIRECTORY`, `/run/user/<uid>` and for root `/run`, then
    /// `~/.local/state/portolan/run` and `/tmp/portolan-<uid>`.
    pub runtime_dir: Option<PathBuf>,
    /// Where the ports of the last run are kept. Default none, which is `$XDG_STATE_HOME/portolan`,
    /// else `~/.local/state/portolan`: still there after a reboot.
    pub state_dir: Option<PathBuf>,
}

// === impl PortAllocatorConfig ===

impl PortAllocatorConfig {
    /// Returns the directory of the reservation table. Creates it if it is missing.
    pub fn runtime_directory(&self) -> Result<PathBuf, DirectoryError> {
        directories::runtime(self.runtime_dir.as_deref(), "port_allocator.runtime_dir")
    }

    /// Returns the directory of the sticky ports. Creates it if it is missing; `None` if neither
    /// the configuration nor the environment names one.
    pub fn state_directory(&self) -> Result<Option<PathBuf>, DirectoryError> {
        directories::state(self.state_dir.as_deref(), "port_allocator.state_dir")
    }

    /// Builds the pool catalogue from `port_ranges` and `services`.
    pub fn pools(&self) -> Pools {
        Pools::new(&self.port_ranges, &self.services)
    }
}

impl Default for PortAllocatorConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            allow_ephemeral: false,
            port_ranges: PoolRange::built_in(),
            restrict_to_ranges: false,
            reserved_ports: vec![22, 80, 443],
            quota: PortLimits::new(1_000, 20_000),
            rate_limit: PortLimits::new(10_000, 20_000),
            services: BTreeMap::new(),
            sticky: true,
            runtime_dir: None,
            state_dir: None,
        }
    }
}

#[cfg(test)]
mod tests;
