//! Pools that overlap the ephemeral range, and the sysctl commands that resolve it.
//!
//! The kernel may choose such a port for any outgoing connection. A service then gets another port,
//! or fails to start now and then.

use std::collections::BTreeSet;
use std::fmt;

use parking_lot::Mutex;
use portolan_core::PortRange;
use portolan_core::pools::Pool;
use portolan_host_facts::SystemPorts;
use tracing::warn;

use crate::config::PortAllocatorConfig;

/// The kernel parameter that resolves the overlap (ip-sysctl).
const SETTING: &str = "net.ipv4.ip_local_reserved_ports";

/// The pools that overlap the ephemeral range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EphemeralOverlap {
    /// The pools, in the order of their names.
    pub pools: Vec<ExposedPool>,
    /// The ephemeral range.
    pub ephemeral: PortRange,
    /// The ports to reserve: those reserved already, and those of the pools.
    keep: Vec<PortRange>,
}

/// The ephemeral ports of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPool {
    /// The name of the pool.
    pub pool: String,
    /// Its ports that are ephemeral and not reserved, in order.
    pub ports: Vec<PortRange>,
}

// === impl EphemeralOverlap ===

impl EphemeralOverlap {
    /// Returns the overlap of the configured pools with the ephemeral range, if there is one.
    pub fn find(config: &PortAllocatorConfig, system: &SystemPorts) -> Option<Self> {
        let exposed = |pool: &Pool| {
            let own = pool.range.ports().chain([pool.default_port]);
            (
                pool.name.clone(),
                own.filter(|port| system.is_ephemeral(*port)).collect::<BTreeSet<_>>(),
            )
        };
        let mut pools: Vec<_> = config.pools().iter().map(exposed).collect();
        pools.retain(|(_, ports)| !ports.is_empty());
        if pools.is_empty() {
            return None;
        }
        let mut keep: BTreeSet<u16> = system.reserved().iter().flat_map(|r| r.ports()).collect();
        keep.extend(pools.iter().flat_map(|(_, ports)| ports));
        let exposed = |(pool, ports)| ExposedPool { pool, ports: ranges(ports) };
        Some(Self {
            pools: pools.into_iter().map(exposed).collect(),
            ephemeral: system.ephemeral_range(),
            keep: ranges(keep),
        })
    }

    /// Returns the command that reserves the ports until the next boot, for root.
    pub fn command(&self) -> String {
        format!("sysctl -w {SETTING}={}", Ports(&self.keep))
    }

    /// Returns the command that reserves the ports from the next boot on, for root.
    pub fn lasting_command(&self) -> String {
        let keep = Ports(&self.keep);
        format!("echo '{SETTING} = {keep}' > /etc/sysctl.d/60-portolan.conf")
    }
}

impl fmt::Display for EphemeralOverlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ExposedPool { pool, ports }) in self.pools.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{pool} ({})", Ports(ports))?;
        }
        Ok(())
    }
}

/// Warns of configured pools, once for each configuration. The built-in pools are below every usual
/// ephemeral range.
pub(crate) fn warn_once(config: &PortAllocatorConfig) {
    static WARNED_OF: Mutex<Option<EphemeralOverlap>> = Mutex::new(None);
    let configured = only_configured(config);
    if configured.port_ranges.is_empty() {
        return;
    }
    let overlap = EphemeralOverlap::find(&configured, &SystemPorts::read());
    let mut warned_of = WARNED_OF.lock();
    if let Some(overlap) = overlap.filter(|overlap| warned_of.as_ref() != Some(overlap)) {
        warn!(
            pools = %overlap,
            ephemeral_range = %overlap.ephemeral,
            remedy = overlap.command(),
            "Outgoing connections may be given ports of these pools",
        );
        *warned_of = Some(overlap);
    }
}

/// Returns the configuration without built-in pools.
fn only_configured(config: &PortAllocatorConfig) -> PortAllocatorConfig {
    let built_in = PortAllocatorConfig::default().port_ranges;
    let mut configured = config.clone();
    configured.port_ranges.retain(|name, pool| built_in.get(name) != Some(pool));
    configured
}

/// Merges sorted ports into ranges.
fn ranges(ports: impl IntoIterator<Item = u16>) -> Vec<PortRange> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(port) => *end = port,
            _ => ranges.push((port, port)),
        }
    }
    ranges.into_iter().filter_map(|(start, end)| PortRange::new(start, end).ok()).collect()
}

/// Ports in the format of `sysctl`: `8080,9148-9200`.
struct Ports<'a>(&'a [PortRange]);

impl fmt::Display for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match range.count() {
                1 => write!(f, "{comma}{}", range.start())?,
                _ => write!(f, "{comma}{range}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::PoolRange;

    use super::*;

    fn config(pools: &[(&str, u16, u16)]) -> PortAllocatorConfig {
        let pool = |(name, start, end): &(&str, u16, u16)| {
            ((*name).to_owned(), PortRange::known(*start, *end).into())
        };
        PortAllocatorConfig {
            port_ranges: pools.iter().map(pool).collect(),
            ..PortAllocatorConfig::default()
        }
    }

    #[test]
    fn sysctl_command_adds_overlapping_ports_to_reserved_ones() {
        let system = SystemPorts::parse("40000 49999", "8080,40010-40012,50000", "");
        let config = config(&[("low", 39_990, 40_004), ("high", 49_999, 50_010), ("no", 1, 9)]);
        let overlap = EphemeralOverlap::find(&config, &system).unwrap();
        assert_eq!(overlap.to_string(), "high (49999), low (40000-40004)");
        let keep = "8080,40000-40004,40010-40012,49999-50000";
        assert_eq!(overlap.command(), format!("sysctl -w {SETTING}={keep}"));
        assert!(overlap.lasting_command().contains(&format!("{SETTING} = {keep}")));
        let mended = SystemPorts::parse("40000 49999", keep, "");
        assert_eq!(EphemeralOverlap::find(&config, &mended), None);
    }

    #[test]
    fn default_port_outside_pool_range_can_overlap() {
        let mut config = config(&[]);
        let pool = PoolRange::new(PortRange::known(100, 110)).with_default(65_535);
        config.port_ranges.insert("odd".to_owned(), pool);
        let overlap = EphemeralOverlap::find(&config, &SystemPorts::parse("60000 65535", "", ""));
        assert_eq!(overlap.unwrap().to_string(), "odd (65535)");
    }

    #[test]
    fn built_in_pools_are_not_configured_pools() {
        let default = PortAllocatorConfig::default();
        assert_eq!(EphemeralOverlap::find(&default, &SystemPorts::parse("", "", "")), None);
        let wide = SystemPorts::parse("1024 65535", "", "");
        assert!(EphemeralOverlap::find(&default, &wide).is_some());
        assert!(only_configured(&default).port_ranges.is_empty());
        let moved = config(&[("api", 40_000, 40_010)]);
        assert_eq!(only_configured(&moved), moved);
    }
}
