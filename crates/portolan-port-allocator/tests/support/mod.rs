//! A host of one's own for each test: a block of ports that no other test has, and its own table.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "only tests call this")]

mod block;
pub(crate) mod copy;

use portolan_core::PortRange;
use portolan_port_allocator::{Depth, PoolRange, PortAllocator, PortAllocatorConfig, PortRequest};

use block::Block;

/// The pool of each world: the first port is the default, the others are the range.
pub(crate) const POOL: &str = "mine";

/// Ports, folders, and a pool of its own.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    block: Block,
    count: u16,
}

impl World {
    /// A world whose pool has this many ports, the default included.
    pub(crate) fn with_ports(count: u16) -> Self {
        assert!((2..=block::SIZE).contains(&count));
        Self::with(Block::new(), count)
    }

    /// A world with more ports than the others have.
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

    /// A session of its own, as another process would have it.
    pub(crate) fn allocator(&self) -> PortAllocator {
        PortAllocator::new(self.config()).unwrap()
    }
}

/// A wish for a port of the world's pool.
pub(crate) fn wish(service: &str, depth: Depth) -> PortRequest {
    PortRequest::new(service.parse().unwrap()).pool(POOL).depth(depth)
}
