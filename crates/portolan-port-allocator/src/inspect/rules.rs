//! The rules of the settings, the kernel and browsers that apply to a port, free or not.

use std::fmt;

use portolan_core::{PortRange, is_blocked_by_browsers};
use portolan_host_facts::SystemPorts;
use serde::Serialize;

use crate::config::PortAllocatorConfig;

/// A rule that applies to a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PortRule {
    /// It is never granted (`port_allocator.reserved_ports`).
    Reserved,
    /// The kernel never chooses it (`ip_local_reserved_ports`).
    ReservedBySystem,
    /// The kernel may choose it for an outgoing connection.
    Ephemeral {
        /// The ephemeral range.
        range: PortRange,
    },
    /// Binding it needs a privilege.
    Privileged {
        /// The first port that every user may bind.
        unprivileged_start: u16,
    },
    /// Browsers refuse to connect to it (Fetch standard, port blocking).
    RefusedByBrowsers {
        /// The HTTP pools that contain it.
        pools: Vec<String>,
    },
}

// === impl PortRule ===

impl PortRule {
    /// Returns the rules that apply to the port.
    pub fn all(port: u16, config: &PortAllocatorConfig, system: &SystemPorts) -> Vec<Self> {
        let range = system.ephemeral_range();
        let unprivileged_start = system.unprivileged_start();
        let rules = [
            (config.reserved_ports.contains(&port), Self::Reserved),
            (system.is_reserved(port), Self::ReservedBySystem),
            (system.is_ephemeral(port), Self::Ephemeral { range }),
            (port < unprivileged_start, Self::Privileged { unprivileged_start }),
            (is_blocked_by_browsers(port), Self::RefusedByBrowsers { pools: web(port, config) }),
        ];
        rules.into_iter().filter_map(|(concerns, rule)| concerns.then_some(rule)).collect()
    }
}

/// Returns the HTTP pools that contain the port.
fn web(port: u16, config: &PortAllocatorConfig) -> Vec<String> {
    let pools = config.pools();
    pools.with_port(port).filter(|pool| pool.http).map(|pool| pool.name.clone()).collect()
}

impl fmt::Display for PortRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved => {
                f.write_str("never granted, because port_allocator.reserved_ports names it")
            }
            Self::ReservedBySystem => f.write_str(
                "kept by the system from outgoing connections (net.ipv4.ip_local_reserved_ports)",
            ),
            Self::Ephemeral { range } => write!(
                f,
                "in the ephemeral range {range}: any outgoing connection may be given it; `portolan doctor` prints the command that keeps a pool from that"
            ),
            Self::Privileged { unprivileged_start } => write!(
                f,
                "privileged: below {unprivileged_start} (net.ipv4.ip_unprivileged_port_start) a program needs CAP_NET_BIND_SERVICE"
            ),
            Self::RefusedByBrowsers { pools } if pools.is_empty() => {
                f.write_str("refused by browsers: nothing that they shall open may listen here")
            }
            Self::RefusedByBrowsers { pools } => write!(
                f,
                "refused by browsers, though {} is for what they open; give the pool other ports",
                pools.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(port: u16, config: &PortAllocatorConfig) -> Vec<PortRule> {
        let system = SystemPorts::parse("40000 49999", "40005,9000", "");
        PortRule::all(port, config, &system)
    }

    #[test]
    fn unrestricted_port_has_no_rules() {
        assert_eq!(rules(8080, &PortAllocatorConfig::default()), []);
    }

    #[test]
    fn all_rules_of_a_port_are_listed() {
        let config = PortAllocatorConfig::default();
        let privileged = PortRule::Privileged { unprivileged_start: 1024 };
        let browser_blocked = PortRule::RefusedByBrowsers { pools: vec![] };
        assert_eq!(rules(22, &config), [PortRule::Reserved, privileged, browser_blocked]);
        let range = PortRange::known(40_000, 49_999);
        assert_eq!(rules(40_000, &config), [PortRule::Ephemeral { range }]);
        assert_eq!(rules(40_005, &config), [PortRule::ReservedBySystem]);
        assert_eq!(rules(9000, &config), [PortRule::ReservedBySystem]);
    }

    #[test]
    fn browser_blocked_rule_names_http_pool() {
        let mut config = PortAllocatorConfig::default();
        for pool in ["api", "database"] {
            config.port_ranges.insert(pool.to_owned(), PortRange::known(6660, 6670).into());
        }
        let pools = vec!["api".to_owned()];
        assert_eq!(rules(6667, &config), [PortRule::RefusedByBrowsers { pools }]);
    }

    #[test]
    fn rule_is_serialized_with_its_name() {
        let json = serde_json::to_value(PortRule::Ephemeral { range: PortRange::known(1, 2) });
        let expected =
            serde_json::json!({ "rule": "ephemeral", "range": { "start": 1, "end": 2 } });
        assert_eq!(json.unwrap(), expected);
    }
}
