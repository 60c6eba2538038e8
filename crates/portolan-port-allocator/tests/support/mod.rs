//! The environment of a test: its own block of ports, directories and reservation table.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "only tests call this")]

mod block;
pub(crate) mod copy;

use portolan_core::{PoolRange, PortRange};
use portolan_port_allocator::{Depth, PortAllocator, PortAllocatorConfig, PortRequest};

use block::Block;

/// The name of the pool, whose first port is the default and whose other ports are the range.
pub(crate) const POOL: &str = "mine";

/// Ports, directories and a pool.
pub(crate) struct TestEnv {
    pub(crate) folder: tempfile::TempDir,
    block: Block,
    count: u16,
}

impl TestEnv {
    /// An environment with this many ports in its pool, including the default.
    pub(crate) fn with_ports(count: u16) -> Self {
        assert!((2..=block::SIZE).contains(&count));
        Self::with(Block::new(), count)
    }

    /// An environment with more ports than a block has.
    pub(crate) fn with_many_ports(count: u16) -> Self {
        Self::with(Block::large(count), count)
    }

    fn with(block: Block, count: u16) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), block, count }
    }

    /// A port of the pool; 0 is its default.
    pub(crate) fn port(&self, index: u16) -> u16 {
        self.block.port(index)
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        (0..self.count).map(|index| self.port(index)).collect()
    }

    pub(crate) fn range(&self) -> PortRange {
        PortRange::new(self.port(1), self.port(self.count - 1)).unwrap()
    }

    pub(crate) fn config(&self) -> PortAllocatorConfig {
        let pool = PoolRange::new(self.range()).with_default(self.port(0));
        PortAllocatorConfig {
            port_ranges: [(POOL.to_owned(), pool)].into(),
            runtime_dir: Some(self.folder.path().join("run")),
            state_dir: Some(self.folder.path().join("state")),
            ..PortAllocatorConfig::default()
        }
    }

    /// A new session, like that of another process.
    pub(crate) fn allocator(&self) -> PortAllocator {
        PortAllocator::new(self.config()).unwrap()
    }
}

/// A request for a port of the pool.
pub(crate) fn request_for(service: &str, depth: Depth) -> PortRequest {
    PortRequest::new(service.parse().unwrap()).pool(POOL).depth(depth)
}
