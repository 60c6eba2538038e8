//! The limits: what the system must be asked at least, without any Portolan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use portolan_core::PortRange;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use serde::{Deserialize, Serialize};

/// On which addresses a socket is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// Every address of both families, as a guard is.
    Dual,
    /// Every address of IPv4.
    V4,
}

/// The ports of a range, one after the other and round again, the next one never its neighbour.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    range: PortRange,
    index: usize,
}

/// `socket`, `SO_REUSEADDR`, `bind`: what a guard is made of.
pub fn bound(family: Family, port: u16) -> rustix::io::Result<OwnedFd> {
    let socket = reusing(family)?;
    bind(&socket, &address(family, port))?;
    Ok(socket)
}

/// Alone on the port: without the option, a guard that somebody still has is in the way.
pub(crate) fn bound_alone(port: u16) -> rustix::io::Result<OwnedFd> {
    let socket = plain(Family::Dual)?;
    bind(&socket, &address(Family::Dual, port))?;
    Ok(socket)
}

/// One socket that tries the ports in order until one is free.
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

// === impl Round ===

impl Round {
    pub(crate) fn new(range: PortRange) -> Self {
        Self { range, index: 0 }
    }

    pub(crate) fn next(&mut self) -> u16 {
        // A prime that divides no range here, so that all ports are met.
        self.index = (self.index + 7919) % self.range.count();
        self.range.start() + self.index as u16
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_round_meets_every_port() {
        let range = PortRange::known(20_000, 27_999);
        let mut round = Round::new(range);
        let met: HashSet<u16> = (0..range.count()).map(|_| round.next()).collect();
        assert_eq!(met, range.ports().collect());
    }
}
