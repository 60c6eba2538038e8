//! The ports that the system itself gives to connections, and which of them a service may have.

use std::fs;

use portolan_core::PortRange;

use crate::port_order::Permutation;

/// What Linux uses where nobody changed it (ip-sysctl, `ip_local_port_range`).
const USUAL: PortRange = PortRange::known(32_768, 60_999);

/// The system's ephemeral range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EphemeralPorts {
    range: PortRange,
    /// Ports that the administrator keeps from being assigned.
    reserved: Vec<PortRange>,
}

// === impl EphemeralPorts ===

impl EphemeralPorts {
    /// The range that this system has now.
    pub(crate) fn of_this_system() -> Self {
        let read = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
        let range = read("ip_local_port_range").unwrap_or_default();
        let reserved = read("ip_local_reserved_ports").unwrap_or_default();
        Self::parse(&range, &reserved)
    }

    /// The range as two numbers, and the reserved ports as `8080,9148-9200`. What cannot be read
    /// counts as what is usual: the ports are tried before they are granted in any case.
    pub(crate) fn parse(range: &str, reserved: &str) -> Self {
        let mut bounds = range.split_whitespace().map(str::parse::<u16>);
        let range = match (bounds.next(), bounds.next()) {
            (Some(Ok(start)), Some(Ok(end))) => PortRange::new(start, end).unwrap_or(USUAL),
            _ => USUAL,
        };
        let reserved = reserved.trim().split(',').filter_map(parse_reserved).collect();
        Self { range, reserved }
    }

    /// All of them, those included that the administrator keeps.
    pub(crate) fn range(&self) -> PortRange {
        self.range
    }

    /// The ports that the administrator keeps from being assigned, within the range and outside.
    pub(crate) fn reserved(&self) -> &[PortRange] {
        &self.reserved
    }

    /// Whether the port is one of them.
    pub(crate) fn contains(&self, port: u16) -> bool {
        self.range.contains(port) && !self.is_reserved(port)
    }

    /// Those that a service may have, in an order that follows from the seed.
    ///
    /// Linux gives `connect` the ports of the first port's parity as long as there are any, and
    /// such a port cannot be bound while the connection lasts. So only the others are tried.
    pub(crate) fn candidates(&self, seed: u64) -> impl Iterator<Item = u16> {
        let start = usize::from(self.range.start());
        Permutation::new(self.range.count() / 2, seed)
            .filter_map(move |index| u16::try_from(start + 1 + 2 * index).ok())
            .filter(|port| self.contains(*port))
    }

    /// Whether the administrator keeps the port from being assigned by itself, which is mostly
    /// because something else is to have it.
    pub(crate) fn is_reserved(&self, port: u16) -> bool {
        self.reserved.iter().any(|range| range.contains(port))
    }
}

fn parse_reserved(text: &str) -> Option<PortRange> {
    match text.parse::<u16>() {
        Ok(port) => PortRange::new(port, port).ok(),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_range_is_read_with_what_is_kept_from_it() {
        let ports = EphemeralPorts::parse("40000\t40009\n", "40003,40006-40007\n");
        let mut candidates: Vec<u16> = ports.candidates(1).collect();
        candidates.sort_unstable();
        assert_eq!(candidates, [40_001, 40_005, 40_009]);
        assert!(ports.contains(40_002) && !ports.contains(40_003) && !ports.contains(40_010));
    }

    #[test]
    fn a_range_that_cannot_be_read_is_the_usual_one() {
        for text in ["", "nonsense", "5", "9 5", "0 5"] {
            let ports = EphemeralPorts::parse(text, "what?,-,5-");
            assert!(ports.contains(32_768) && ports.contains(60_999), "{text:?}");
            assert_eq!(ports.candidates(9).count(), 14_116);
        }
    }

    #[test]
    fn a_range_of_one_port_has_no_candidates() {
        assert_eq!(EphemeralPorts::parse("40000 40000", "").candidates(1).count(), 0);
    }

    #[test]
    fn this_system_has_ephemeral_ports() {
        assert!(EphemeralPorts::of_this_system().candidates(3).next().is_some());
    }
}
