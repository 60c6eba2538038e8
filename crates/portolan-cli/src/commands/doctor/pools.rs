//! The configured pools, as the checks look at them.

use std::collections::BTreeSet;

use portolan_port_allocator::{PoolRange, PortAllocatorConfig};

/// A pool with its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pool: &'a PoolRange,
}

/// Every pool, in the order of the names.
pub(super) fn of(config: &PortAllocatorConfig) -> Vec<Named<'_>> {
    config.port_ranges.iter().map(|(name, pool)| Named { name, pool }).collect()
}

// === impl Named ===

impl Named<'_> {
    /// The port that its services have by convention.
    pub(super) fn default_port(self) -> u16 {
        self.pool.default_port(self.name)
    }

    /// Every port that its services may have.
    pub(super) fn ports(self) -> BTreeSet<u16> {
        self.pool.range().ports().chain([self.default_port()]).collect()
    }

    /// Whether browsers connect to its services.
    pub(super) fn speaks_http(self) -> bool {
        self.pool.speaks_http(self.name)
    }

    /// Whether it is as the specification has it.
    pub(super) fn is_built_in(self) -> bool {
        PortAllocatorConfig::default().port_ranges.get(self.name) == Some(self.pool)
    }
}

/// Ports for people: the first few, and how many more.
pub(super) fn some<'a>(ports: impl IntoIterator<Item = &'a u16>) -> String {
    const SHOWN: usize = 5;
    let ports: Vec<String> = ports.into_iter().map(u16::to_string).collect();
    match ports.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", ports[..SHOWN].join(", ")),
        _ => ports.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ports_are_told_shortly() {
        assert_eq!(some(&[1, 2]), "1, 2");
        assert_eq!(some(&[1, 2, 3, 4, 5]), "1, 2, 3, 4, 5");
        assert_eq!(some(&[1, 2, 3, 4, 5, 6, 7]), "1, 2, 3, 4, 5 and 2 more");
    }
}
