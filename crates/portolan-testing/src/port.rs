//! A leased port number.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;

use portolan_port_allocator::PortLease;

/// A leased port, until this is dropped. It dereferences to and prints as the number.
///
/// The port is [guarded](portolan_port_allocator::Depth::Guarded): the kernel assigns it to no
/// other socket, and a program that sets `SO_REUSEADDR`, as nearly all servers do, binds it on any
/// address. For any other program, see [`without_guard`](Self::without_guard).
///
/// Drop this only after the server on the port has ended, or the port may be leased to another
/// test.
pub struct Port {
    number: u16,
    lease: PortLease,
}

// === impl Port ===

impl Port {
    pub(crate) fn new(lease: PortLease) -> Self {
        Self { number: lease.port(), lease }
    }

    /// Returns the address of a server on the port: 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }

    /// Removes the guard, for a program that does not set `SO_REUSEADDR`. The port stays leased,
    /// but a foreign process can bind it until the program does.
    pub fn without_guard(mut self) -> Self {
        self.lease.let_go_of_guard();
        self
    }

    /// Returns the lease, which a child process can inherit.
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
