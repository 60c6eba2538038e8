//! The plan of one request: its candidate ports in order.

use portolan_core::PortRange;
use portolan_host_facts::SystemPorts;

use crate::grant::port_order::Permutation;

/// The ports that one request may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan<'a> {
    /// The name of the pool of the service, if it has one.
    pub(crate) pool: Option<&'a str>,
    /// The preferred ports, in order.
    pub(crate) preferred: Vec<u16>,
    /// Whether the request names them; otherwise it is the default port of the pool.
    pub(crate) is_explicit: bool,
    /// The range that is tried next.
    pub(crate) range: Option<PortRange>,
    /// The range that is tried when that one is used up.
    pub(crate) beyond: Option<PortRange>,
    /// The ephemeral ports, if they are allowed.
    pub(crate) ephemeral: Option<&'a SystemPorts>,
    /// Whether browsers connect to the service.
    pub(crate) http: bool,
}

/// A candidate port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) port: u16,
    pub(crate) choice: Choice,
}

/// Why a port is a candidate, in the order in which candidates are tried (ADR 0003).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It is the sticky port.
    Sticky,
    /// It is the preferred port.
    Preferred,
    /// It is in the range.
    Range,
    /// It is an ephemeral port.
    Ephemeral,
}

// === impl Plan ===

impl Plan<'_> {
    /// Whether there are no candidates.
    pub(crate) fn is_nothing(&self) -> bool {
        self.preferred.is_empty() && self.range.is_none() && self.ephemeral.is_none()
    }

    /// Whether the port is a candidate.
    pub(crate) fn allows(&self, port: u16) -> bool {
        self.preferred.contains(&port) || self.is_in_range(port) || self.allows_ephemeral(port)
    }

    fn is_in_range(&self, port: u16) -> bool {
        self.range.iter().chain(&self.beyond).any(|range| range.contains(port))
    }

    /// Whether the port is a candidate because it is ephemeral.
    pub(crate) fn allows_ephemeral(&self, port: u16) -> bool {
        self.ephemeral.is_some_and(|ephemeral| ephemeral.is_ephemeral(port))
    }

    /// Whether the request names the port itself.
    pub(crate) fn names(&self, port: u16) -> bool {
        self.is_explicit && self.preferred.contains(&port)
    }

    /// Returns the metric label: the pool, or `none`.
    pub(crate) fn label(&self) -> &str {
        self.pool.unwrap_or("none")
    }

    /// Returns every candidate once, in order. A sticky port that is no longer allowed is omitted.
    pub(crate) fn candidates(
        &self,
        sticky: Option<u16>,
        seed: u64,
    ) -> impl Iterator<Item = Candidate> {
        let sticky = sticky.filter(|port| self.allows(*port));
        // A port that is listed twice is tried once.
        let listed = self.preferred.iter().enumerate();
        let first = listed.filter(|(index, port)| !self.preferred[..*index].contains(port));
        let preferred = first.map(|(_, port)| *port).filter(move |port| sticky != Some(*port));
        let is_new = move |port: &u16| sticky != Some(*port) && !self.preferred.contains(port);
        let ranges = self.range.into_iter().chain(self.beyond);
        let range = ranges.flat_map(move |range| ports_of(range, seed));
        let ephemeral =
            self.ephemeral.into_iter().flat_map(move |system| ephemeral_ports(system, seed));
        let as_choice = |choice| move |port| Candidate { port, choice };
        sticky
            .into_iter()
            .map(as_choice(Choice::Sticky))
            .chain(preferred.map(as_choice(Choice::Preferred)))
            .chain(range.filter(is_new).map(as_choice(Choice::Range)))
            .chain(
                ephemeral
                    .filter(is_new)
                    .filter(move |port| !self.is_in_range(*port))
                    .map(as_choice(Choice::Ephemeral)),
            )
    }
}

fn ports_of(range: PortRange, seed: u64) -> impl Iterator<Item = u16> {
    let start = range.start();
    // Every index is below the count, so no sum exceeds the range.
    Permutation::new(range.count(), seed).map(move |index| start + index as u16)
}

/// The ephemeral ports of odd distance from the start, in an order that follows from the seed.
///
/// Linux gives `connect` the ports of the first port's parity as long as there are any, and such a
/// port cannot be bound while the connection lasts.
fn ephemeral_ports(system: &SystemPorts, seed: u64) -> impl Iterator<Item = u16> {
    let range = system.ephemeral_range();
    let start = usize::from(range.start());
    Permutation::new(range.count() / 2, seed)
        .filter_map(move |index| u16::try_from(start + 1 + 2 * index).ok())
        .filter(|port| system.is_ephemeral(*port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(range: &str, reserved: &str) -> Vec<u16> {
        let system = SystemPorts::parse(range, reserved, "");
        let mut ports: Vec<u16> = ephemeral_ports(&system, 1).collect();
        ports.sort_unstable();
        ports
    }

    #[test]
    fn ephemeral_ports_have_parity_that_connect_uses_last() {
        assert_eq!(ports("40000 40009", "40003,40006-40007"), [40_001, 40_005, 40_009]);
        assert_eq!(ports("32768 60999", "").len(), 14_116);
        assert!(ports("40000 40000", "").is_empty());
    }
}
