//! A number whose port is leased.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;

use portolan_port_allocator::PortLease;

/// A port that nobody else gets until this is dropped. It reads and prints as the number.
///
/// It is [guarded](portolan_port_allocator::Depth::Guarded): the kernel gives it to nobody, nobody
/// takes it by chance, and a program that sets `SO_REUSEADDR`, as nearly all servers do, binds it by
/// its number on any address. For one that does not, see [`without_guard`](Self::without_guard).
///
/// A server that the test starts must end before this is dropped, or find its port another test's.
pub struct Port {
    number: u16,
    lease: PortLease,
}

// === impl Port ===

impl Port {
    pub(crate) fn new(lease: PortLease) -> Self {
        Self { number: lease.port(), lease }
    }

    /// Where what binds the port on this machine is connected to: 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }

    /// The same port, for a program that does not set `SO_REUSEADDR` and so does not start beside a
    /// guard. No other test and no Portolan process gets it; anybody else may, until it is bound.
    pub fn without_guard(mut self) -> Self {
        self.lease.let_go_of_guard();
        self
    }

    /// The lease behind it, for a child that is to inherit it.
    pub fn lease(&self) -> &PortLease {
        &self.lease
    }
}

impl Deref for Port {
    type Target = u16;

    fn deref(&self) -> &u16 {
        &self.number
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Port").field(&self.number).finish()
    }
}
