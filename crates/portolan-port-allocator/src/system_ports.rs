//! What the system does with ports, whatever Portolan is configured to do.

use std::fs;

use portolan_core::PortRange;

use crate::ephemeral::EphemeralPorts;

/// Where unprivileged ports begin where nobody changed it (ip-sysctl, `ip_unprivileged_port_start`).
const USUAL_START: u16 = 1024;

/// The system's own rules for ports, as they are in this network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemPorts {
    ephemeral: EphemeralPorts,
    unprivileged_start: u16,
}

// === impl SystemPorts ===

impl SystemPorts {
    /// The rules that are in force now. What cannot be read counts as what is usual.
    pub fn of_this_host() -> Self {
        let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
        let start = start.ok().and_then(|text| text.trim().parse().ok());
        Self {
            ephemeral: EphemeralPorts::of_this_system(),
            unprivileged_start: start.unwrap_or(USUAL_START),
        }
    }

    /// The range whose ports the system gives to outgoing connections and to whoever asks for any
    /// port (`ip_local_port_range`).
    pub fn ephemeral_range(&self) -> PortRange {
        self.ephemeral.range()
    }

    /// Ports that the system gives to nobody unasked (`ip_local_reserved_ports`).
    pub fn reserved(&self) -> &[PortRange] {
        self.ephemeral.reserved()
    }

    /// Whether the system gives the port to nobody unasked.
    pub fn is_reserved(&self, port: u16) -> bool {
        self.ephemeral.is_reserved(port)
    }

    /// Whether any outgoing connection may be given the port.
    pub fn is_exposed(&self, port: u16) -> bool {
        self.ephemeral.contains(port)
    }

    /// The first port that needs no privilege (`ip_unprivileged_port_start`).
    pub fn unprivileged_start(&self) -> u16 {
        self.unprivileged_start
    }

    #[cfg(test)]
    pub(crate) fn parse(range: &str, reserved: &str) -> Self {
        let ephemeral = EphemeralPorts::parse(range, reserved);
        Self { ephemeral, unprivileged_start: USUAL_START }
    }
}
