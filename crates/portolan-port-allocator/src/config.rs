//! The settings of the port allocator: section `port_allocator` of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portolan_core::port_range::InvalidPortRange;
use portolan_core::{Pool, PortRange, pool};
use portolan_host_facts::{DirectoryError, directories};
use serde::{Deserialize, Serialize};

use crate::limits::PortLimits;

/// The settings of the port allocator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortAllocatorConfig {
    /// Whether ports are allocated at all. Default true; where false every allocation is refused,
    /// and `holders` and `check` go on answering.
    pub enabled: bool,
    /// Whether a service whose range is used up gets any port of the system's ephemeral range.
    /// Default false: such a port is not where anybody would look for the service.
    pub allow_ephemeral: bool,
    /// The pools by name, each with its range and its default port. Default: the six pools of the
    /// specification.
    pub port_ranges: BTreeMap<String, PoolRange>,
    /// Ports that are never allocated. Default 22, 80 and 443: SSH and the web servers, which have
    /// no other port to go to.
    pub reserved_ports: Vec<u16>,
    /// How many leases one service, and one user, may hold at once. Default 1,000 and 20,000: what
    /// takes more than that is most likely a loop, and a third of all ports is left for others.
    pub quota: PortLimits,
    /// How many ports one service, and one user, may ask for in a second; each may also come at once. Default 10,000 and 20,000: more than any start needs, and less than a loop takes.
    pub rate_limit: PortLimits,
    /// The pool of a service, by the service's name, where the name does not tell. Default empty.
    pub services: BTreeMap<String, String>,
    /// Whether a service gets the port that it had last time, where that is free. Default true: a
    /// port that stays the same is a port that people and firewalls can rely on.
    pub sticky: bool,
    /// Where the table of reservations is. Default none, which is `$XDG_RUNTIME_DIR/portolan`, else
    /// `/run/user/<uid>/portolan`, else `/tmp/portolan-<uid>`: gone after a reboot, like the leases.
    pub runtime_dir: Option<PathBuf>,
    /// Where the ports of the last run are kept. Default none, which is `$XDG_STATE_HOME/portolan`,
    /// else `~/.local/state/portolan`: still there after a reboot.
    pub state_dir: Option<PathBuf>,
}

/// One pool: its range, the port that its services have by convention, and whether they speak HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct PoolRange {
    range: PortRange,
    default: Option<u16>,
    http: Option<bool>,
}

/// What stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    start: u16,
    end: u16,
    #[serde(default)]
    default: Option<u16>,
    #[serde(default)]
    http: Option<bool>,
}

/// Why numbers are not a pool. Retrying does not help: the numbers must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPoolRange {
    /// Its range is none.
    #[error(transparent)]
    Range(#[from] InvalidPortRange),
    /// Its default port is 0.
    #[error("the default port of a pool is a number from 1 to 65535, not 0")]
    DefaultZero,
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
}

impl Default for PortAllocatorConfig {
    fn default() -> Self {
        let of_pool = |pool: &Pool| PoolRange::new(pool.fallback).with_default(pool.default_port);
        Self {
            enabled: true,
            allow_ephemeral: false,
            port_ranges: pool::POOLS.iter().map(|p| (p.name.to_owned(), of_pool(p))).collect(),
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

// === impl PoolRange ===

impl PoolRange {
    /// A pool with this range, and no default port of its own.
    pub const fn new(range: PortRange) -> Self {
        Self { range, default: None, http: None }
    }

    /// The same with a default port, which may lie outside the range; 0 is taken for none.
    pub const fn with_default(mut self, port: u16) -> Self {
        self.default = if port == 0 { None } else { Some(port) };
        self
    }

    /// The same for services that browsers connect to, or not: they get no port that browsers
    /// refuse. Where nothing is said, the specification's pools for HTTP are such.
    pub const fn with_http(mut self, http: bool) -> Self {
        self.http = Some(http);
        self
    }

    /// Where to look when the default port is taken.
    pub const fn range(&self) -> PortRange {
        self.range
    }

    /// The port tried first in the pool of this name: the one that is set, else the one that the
    /// specification gives the name, else the first of the range.
    pub fn default_port(&self, pool: &str) -> u16 {
        let specified = || Pool::named(pool).map(|pool| pool.default_port);
        self.default.or_else(specified).unwrap_or(self.range.start())
    }

    /// Whether browsers connect to the services of the pool of this name.
    pub fn speaks_http(&self, pool: &str) -> bool {
        self.http.unwrap_or_else(|| Pool::named(pool).is_some_and(Pool::speaks_http))
    }
}

impl From<PortRange> for PoolRange {
    fn from(range: PortRange) -> Self {
        Self::new(range)
    }
}

impl TryFrom<Written> for PoolRange {
    type Error = InvalidPoolRange;

    fn try_from(written: Written) -> Result<Self, InvalidPoolRange> {
        let Written { start, end, default, http } = written;
        match default {
            Some(0) => Err(InvalidPoolRange::DefaultZero),
            default => Ok(Self { range: PortRange::new(start, end)?, default, http }),
        }
    }
}

impl From<PoolRange> for Written {
    fn from(PoolRange { range, default, http }: PoolRange) -> Self {
        Self { start: range.start(), end: range.end(), default, http }
    }
}

#[cfg(test)]
mod tests;
