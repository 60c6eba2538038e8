//! Port usage: leases with their listeners, and foreign listeners.

use portolan_host_facts::{PortListener, port_listeners};
use serde::Serialize;

use crate::allocator::PortAllocator;
use crate::lease::holder::Holder;

/// Every leased port and every listener of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PortUsage {
    /// The leases in force, in the order of the ports.
    #[serde(rename = "ports")]
    pub leases: Vec<LeasedPort>,
    /// The listeners without a lease on their port, in the order of the ports.
    pub foreign: Vec<PortListener>,
}

/// A lease and the listeners on its port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeasedPort {
    /// The lease.
    #[serde(flatten)]
    pub holder: Holder,
    /// The listeners on the port, of any process; empty before the service has started.
    pub listeners: Vec<PortListener>,
}

// === impl PortAllocator ===

impl PortAllocator {
    /// Returns every lease and every listener of this host.
    pub fn port_usage(&self) -> PortUsage {
        // In this order, so that a listener that gets its lease in between is not foreign.
        let listeners = port_listeners(None);
        let holders = self.holders();
        PortUsage::new(holders, listeners)
    }

    /// Returns the listeners on a port, with or without a lease.
    pub fn listeners(&self, port: u16) -> Vec<PortListener> {
        port_listeners(Some(port))
    }
}

// === impl PortUsage ===

impl PortUsage {
    fn new(holders: Vec<Holder>, mut listeners: Vec<PortListener>) -> Self {
        let leased = |holder: Holder| {
            let listeners = listeners.extract_if(.., |it| is_leased_by(it, &holder)).collect();
            LeasedPort { holder, listeners }
        };
        let leases = holders.into_iter().map(leased).collect();
        Self { leases, foreign: listeners }
    }
}

/// Whether the listener's port is leased in the listener's protocol.
fn is_leased_by(listener: &PortListener, holder: &Holder) -> bool {
    let mut leased = holder.protocol.as_str().split('+');
    listener.port == holder.port && leased.any(|protocol| protocol == listener.protocol.as_str())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use jiff::Timestamp;
    use portolan_core::Scope;
    use portolan_host_facts::SocketProtocol;
    use portolan_reservations::Depth;

    use super::*;

    fn holder(port: u16, protocol: &str) -> Holder {
        Holder {
            port,
            protocol: protocol.parse().unwrap(),
            service: "api".parse().unwrap(),
            scope: Scope::default(),
            port_name: None,
            pid: 1,
            user: "ann".to_owned(),
            since: Timestamp::now(),
            alive: true,
            depth: Depth::Claimed,
        }
    }

    fn listener(port: u16, protocol: SocketProtocol) -> PortListener {
        let address = IpAddr::from([127, 0, 0, 1]);
        PortListener { port, protocol, address, process: None, user: "ann".to_owned() }
    }

    #[test]
    fn listener_is_listed_once_with_its_lease() {
        let all = || {
            let (tcp, udp) = (SocketProtocol::Tcp, SocketProtocol::Udp);
            vec![listener(80, tcp), listener(80, udp), listener(81, tcp)]
        };
        let both = PortUsage::new(vec![holder(80, "tcp+udp")], all());
        assert_eq!((&both.leases[0].listeners[..], &both.foreign[..]), all().split_at(2));
        let one = PortUsage::new(vec![holder(80, "tcp")], all());
        // In UDP the port is not leased.
        assert_eq!((&one.leases[0].listeners[..], &one.foreign[..]), all().split_at(1));
    }
}
