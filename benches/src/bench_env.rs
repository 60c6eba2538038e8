//! The environment of a benchmark: its own directories and pool.

use std::path::Path;

use anyhow::Result;
use portolan_core::{PoolRange, PortRange};
use portolan_port_allocator::{Depth, PortAllocatorConfig, PortLimits, PortRequest};
use tempfile::TempDir;

/// The name of the pool.
const POOL: &str = "bench";

/// The ports that are measured. All ports here are below the ephemeral range and above the ranges of
/// the default pools.
pub const MEASURED: PortRange = PortRange::known(31_000, 31_999);
/// The ports that are leased meanwhile.
pub const HELD: PortRange = PortRange::known(20_000, 30_999);
/// The range of a pool that is larger than the default ones.
pub(crate) const LARGE: PortRange = PortRange::known(20_000, 27_999);

const NEVER_REACHED: PortLimits = PortLimits::new(1_000_000_000, 1_000_000_000);

/// Directories that are removed with this value.
#[derive(Debug)]
pub struct BenchEnv {
    directory: TempDir,
}

// === impl BenchEnv ===

impl BenchEnv {
    /// An environment without leases.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("portolan-bench-").tempdir()?;
        Ok(Self { directory })
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The default settings except for the directories, the pool, and limits that are never reached.
    pub fn config(&self, range: PortRange) -> PortAllocatorConfig {
        PortAllocatorConfig {
            port_ranges: [(POOL.to_owned(), PoolRange::new(range))].into(),
            runtime_dir: Some(self.directory.path().join("run")),
            state_dir: Some(self.directory.path().join("state")),
            quota: NEVER_REACHED,
            rate_limit: NEVER_REACHED,
            ..PortAllocatorConfig::default()
        }
    }

    /// The same without sticky ports, so that every request searches.
    pub fn not_sticky(&self, range: PortRange) -> PortAllocatorConfig {
        PortAllocatorConfig { sticky: false, ..self.config(range) }
    }
}

/// A request for a port of the pool.
pub fn request(service: &str, depth: Depth) -> Result<PortRequest> {
    Ok(PortRequest::new(service.parse()?).pool(POOL).depth(depth))
}
