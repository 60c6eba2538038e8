//! How the kernel assigns and protects ports in this network namespace (ip-sysctl).

use portolan_core::PortRange;

use crate::sysctl;

/// The kernel's defaults.
const DEFAULT_EPHEMERAL_RANGE: PortRange = PortRange::known(32_768, 60_999);
const DEFAULT_UNPRIVILEGED_START: u16 = 1024;

/// The kernel's rules for ports: ephemeral range, reserved ports, first unprivileged port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemPorts {
    ephemeral_range: PortRange,
    reserved: Vec<PortRange>,
    unprivileged_start: u16,
}

// === impl SystemPorts ===

impl SystemPorts {
    /// Reads the rules in force. The kernel's defaults replace what cannot be read.
    pub fn read() -> Self {
        Self::parse(
            &sysctl::value("net/ipv4/ip_local_port_range"),
            &sysctl::value("net/ipv4/ip_local_reserved_ports"),
            &sysctl::value("net/ipv4/ip_unprivileged_port_start"),
        )
    }

    /// Parses the three kernel parameters: a range as two numbers, reserved ports as
    /// `8080,9148-9200`, and the first unprivileged port.
    pub fn parse(range: &str, reserved: &str, unprivileged_start: &str) -> Self {
        let mut bounds = range.split_whitespace().map(str::parse::<u16>);
        let range = match (bounds.next(), bounds.next()) {
            (Some(Ok(start)), Some(Ok(end))) => PortRange::new(start, end).ok(),
            _ => None,
        };
        Self {
            ephemeral_range: range.unwrap_or(DEFAULT_EPHEMERAL_RANGE),
            reserved: reserved.trim().split(',').filter_map(parse_ports).collect(),
            unprivileged_start: unprivileged_start.parse().unwrap_or(DEFAULT_UNPRIVILEGED_START),
        }
    }

    /// The range from which the kernel chooses ports for outgoing connections and for binds to
    /// port 0 (`ip_local_port_range`).
    pub fn ephemeral_range(&self) -> PortRange {
        self.ephemeral_range
    }

    /// The ports that the kernel never chooses (`ip_local_reserved_ports`), inside the ephemeral
    /// range and outside.
    pub fn reserved(&self) -> &[PortRange] {
        &self.reserved
    }

    /// Whether the administrator reserved the port, usually for a certain program.
    pub fn is_reserved(&self, port: u16) -> bool {
        self.reserved.iter().any(|range| range.contains(port))
    }

    /// Whether the kernel may choose the port for an outgoing connection.
    pub fn is_ephemeral(&self, port: u16) -> bool {
        self.ephemeral_range.contains(port) && !self.is_reserved(port)
    }

    /// The first port that every user may bind (`ip_unprivileged_port_start`).
    pub fn unprivileged_start(&self) -> u16 {
        self.unprivileged_start
    }
}

fn parse_ports(text: &str) -> Option<PortRange> {
    match text.parse::<u16>() {
        Ok(port) => PortRange::new(port, port).ok(),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reserved_ports_are_not_ephemeral() {
        let ports = SystemPorts::parse("40000\t40009", "40003,40006-40007,80", "1");
        let ephemeral: Vec<u16> =
            (39_999..=40_010).filter(|port| ports.is_ephemeral(*port)).collect();
        assert_eq!(ephemeral, [40_000, 40_001, 40_002, 40_004, 40_005, 40_008, 40_009]);
        assert!(ports.is_reserved(80) && !ports.is_reserved(81));
        assert_eq!(ports.unprivileged_start(), 1);
    }

    #[test]
    fn unreadable_parameters_are_the_kernels_defaults() {
        for text in ["", "nonsense", "5", "9 5", "0 5"] {
            let ports = SystemPorts::parse(text, "what?,-,5-", "x");
            assert_eq!(ports.ephemeral_range(), DEFAULT_EPHEMERAL_RANGE, "{text:?}");
            assert_eq!((ports.reserved(), ports.unprivileged_start()), (&[][..], 1024));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_is_parsed(range: String, reserved: String, start: String) {
            let ports = SystemPorts::parse(&range, &reserved, &start);
            prop_assert!(ports.ephemeral_range().count() > 0);
        }
    }
}
