//! The configured pools with their names, for the checks.

use std::collections::BTreeSet;

use portolan_core::PoolRange;
use portolan_core::pools::Pool;
use portolan_port_allocator::PortAllocatorConfig;

/// A pool with its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamedPool<'a> {
    pub(super) name: &'a str,
    pool: &'a PoolRange,
}

/// Returns every pool, sorted by name.
pub(super) fn all(config: &PortAllocatorConfig) -> Vec<NamedPool<'_>> {
    config.port_ranges.iter().map(|(name, pool)| NamedPool { name, pool }).collect()
}

// === impl NamedPool ===

impl NamedPool<'_> {
    /// Returns the default port of the pool.
    pub(super) fn default_port(self) -> u16 {
        Pool::new(self.name, self.pool).default_port
    }

    /// Returns every port of the pool, with its default port.
    pub(super) fn ports(self) -> BTreeSet<u16> {
        self.pool.range().ports().chain([self.default_port()]).collect()
    }

    /// Whether the services of the pool speak HTTP.
    pub(super) fn speaks_http(self) -> bool {
        Pool::new(self.name, self.pool).http
    }

    /// Whether the pool is an unchanged built-in pool.
    pub(super) fn is_built_in(self) -> bool {
        PortAllocatorConfig::default().port_ranges.get(self.name) == Some(self.pool)
    }
}

/// Formats the first ports of a list, and the number of the others.
pub(super) fn summarize<'a>(ports: impl IntoIterator<Item = &'a u16>) -> String {
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
    fn long_list_of_ports_is_cut() {
        assert_eq!(summarize(&[1, 2]), "1, 2");
        assert_eq!(summarize(&[1, 2, 3, 4, 5]), "1, 2, 3, 4, 5");
        assert_eq!(summarize(&[1, 2, 3, 4, 5, 6, 7]), "1, 2, 3, 4, 5 and 2 more");
    }
}
