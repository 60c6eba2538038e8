//! A host of the bench's own: its table, its file of sticky ports, and its ports.

use std::path::Path;

use anyhow::Result;
use portolan_core::PortRange;
use portolan_port_allocator::{Depth, PoolRange, PortAllocatorConfig, PortLimits, PortRequest};
use tempfile::TempDir;

/// The pool that everything is asked from.
const POOL: &str = "bench";

/// Ports below the ephemeral range, so that no connection has one by chance, and above those of the
/// specification's pools.
/// Those that are measured, where others are held meanwhile.
pub const MEASURED: PortRange = PortRange::known(31_000, 31_999);
/// Those that are held meanwhile.
pub const HELD: PortRange = PortRange::known(20_000, 30_999);
/// A pool that is larger than any of the specification's.
pub(crate) const LARGE: PortRange = PortRange::known(20_000, 27_999);

const NEVER_REACHED: PortLimits = PortLimits::new(1_000_000_000, 1_000_000_000);

/// Folders that end with the bench.
#[derive(Debug)]
pub struct Host {
    folder: TempDir,
}

// === impl Host ===

impl Host {
    /// A host without leases.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("portolan-bench-").tempdir()?;
        Ok(Self { folder })
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The default settings, but for the folders, the one pool, and limits that are counted and
    /// never reached.
    pub fn config(&self, range: PortRange) -> PortAllocatorConfig {
        PortAllocatorConfig {
            port_ranges: [(POOL.to_owned(), PoolRange::new(range))].into(),
            runtime_dir: Some(self.folder.path().join("run")),
            state_dir: Some(self.folder.path().join("state")),
            quota: NEVER_REACHED,
            rate_limit: NEVER_REACHED,
            ..PortAllocatorConfig::default()
        }
    }

    /// The same without a memory for the ports of the last run, so that every request searches.
    pub fn forgetful(&self, range: PortRange) -> PortAllocatorConfig {
        PortAllocatorConfig { sticky: false, ..self.config(range) }
    }
}

/// A wish for a port of the pool.
pub fn wish(service: &str, depth: Depth) -> Result<PortRequest> {
    Ok(PortRequest::new(service.parse()?).pool(POOL).depth(depth))
}
