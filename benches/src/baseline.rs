//! Baselines: the fewest system calls with the same effect, without Portolan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use portolan_core::PortRange;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use serde::{Deserialize, Serialize};

/// The addresses that a socket is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// Every address of both families, as a guard is.
    Dual,
    /// Every address of IPv4.
    V4,
}

/// An endless cycle through the ports of a range, in which neighbours do not follow each other.
#[derive(Debug, Clone)]
pub(crate) struct PortCycle {
    range: PortRange,
    index: usize,
}

/// The system calls of a guard: `socket`, `SO_REUSEADDR`, `bind`.
pub fn bound(family: Family, port: u16) -> rustix::io::Result<OwnedFd> {
    let socket = reusing(family)?;
    bind(&socket, &address(family, port))?;
    Ok(socket)
}

/// Binds without `SO_REUSEADDR`, which fails as long as a guard is bound.
pub(crate) fn bound_alone(port: u16) -> rustix::io::Result<OwnedFd> {
    let socket = plain(Family::Dual)?;
    bind(&socket, &address(Family::Dual, port))?;
    Ok(socket)
}

/// Binds one socket to the first free port of the range.
pub(crate) fn first_free(family: Family, range: PortRange) -> rustix::io::Result<OwnedFd> {
    let socket = reusing(family)?;
    for port in range.ports() {
        match bind(&socket, &address(family, port)) {
            Err(Errno::ADDRINUSE) => {}
            done_or_failed => return done_or_failed.map(|()| socket),
        }
    }
    Err(Errno::ADDRINUSE)
}

fn reusing(family: Family) -> rustix::io::Result<OwnedFd> {
    let socket = plain(family)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

fn plain(family: Family) -> rustix::io::Result<OwnedFd> {
    let family = match family {
        Family::Dual => AddressFamily::INET6,
        Family::V4 => AddressFamily::INET,
    };
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

fn address(family: Family, port: u16) -> SocketAddr {
    let every: IpAddr = match family {
        Family::Dual => Ipv6Addr::UNSPECIFIED.into(),
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(every, port)
}

// === impl PortCycle ===

impl PortCycle {
    pub(crate) fn new(range: PortRange) -> Self {
        Self { range, index: 0 }
    }

    pub(crate) fn next(&mut self) -> u16 {
        // A prime that divides the size of no range here, so that the cycle has every port.
        self.index = (self.index + 7919) % self.range.count();
        self.range.start() + self.index as u16
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn cycle_contains_every_port() {
        let range = PortRange::known(20_000, 27_999);
        let mut cycle = PortCycle::new(range);
        let ports: HashSet<u16> = (0..range.count()).map(|_| cycle.next()).collect();
        assert_eq!(ports, range.ports().collect());
    }
}
