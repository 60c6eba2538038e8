//! The leases of a service: the main port first, then the named ports.

use std::collections::BTreeMap;

use portolan_core::{Pools, PortName};
use portolan_port_allocator::{AllocatorError, PortAllocator, PortLease};

use super::{PortSpec, ServiceSpec, port_spec};
use crate::child::{FIRST_SOCKET, InheritedFds};
use crate::handoff::{Adoption, HandoffMode};
use crate::placeholders::Placeholders;

/// The leases of one service, at least one.
#[derive(Debug)]
pub(super) struct Leases(Vec<PortLease>);

/// How a program learns its ports.
#[derive(Debug, Default)]
pub(super) struct PortEnv {
    /// The values of the placeholders in its command and environment.
    pub(super) places: Placeholders,
    /// Environment variables, which do not override configured ones.
    pub(super) variables: BTreeMap<String, String>,
}

// === impl Leases ===

impl Leases {
    /// Leases all ports of the service, or none.
    pub(super) fn request(
        allocator: &PortAllocator,
        spec: &ServiceSpec,
        port: &PortSpec,
        pools: &Pools,
    ) -> Result<Self, AllocatorError> {
        allocator.request_all(port.requests(spec, pools)).map(Self)
    }

    /// Returns the main port.
    pub(super) fn port(&self) -> u16 {
        self.0[0].port()
    }

    /// Returns every port, the main port first.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.0.iter().map(PortLease::port).collect()
    }

    /// Returns the named ports.
    pub(super) fn named(&self) -> impl Iterator<Item = (&PortName, u16)> {
        self.0.iter().filter_map(|lease| Some((lease.port_name()?, lease.port())))
    }

    /// Returns the file descriptors that the program inherits. Its sockets listen from now on.
    pub(super) fn inherited(&self) -> Result<InheritedFds<'_>, AllocatorError> {
        let mut inherited = InheritedFds::default();
        let mut met = Vec::new();
        for lease in &self.0 {
            let name = lease.port_name().map_or(lease.service().as_str(), PortName::as_str);
            for socket in lease.listening_sockets()? {
                met.push(std::os::fd::AsRawFd::as_raw_fd(&socket));
                inherited.sockets.push((name.to_owned(), socket));
            }
        }
        // All leases of a service belong to one session.
        inherited.share = self.0.first().map(PortLease::share_session).transpose()?;
        for kept in self.0.iter().flat_map(PortLease::socket_fds) {
            // A second descriptor of a socket would keep it open after the program closed the
            // first.
            let number = std::os::fd::AsRawFd::as_raw_fd(&kept);
            if !met.contains(&number) {
                met.push(number);
                inherited.kept.push(kept);
            }
        }
        Ok(inherited)
    }

    /// Returns how the program learns its ports.
    pub(super) fn port_env(&self, adoption: Adoption) -> Result<PortEnv, AllocatorError> {
        let (mut told, mut next) = (PortEnv::default(), FIRST_SOCKET);
        for lease in &self.0 {
            let sockets = lease.listening_sockets()?.len();
            told.places.add(lease.port_name(), lease.port(), (sockets > 0).then_some(next));
            let variable = lease.port_name().map_or_else(|| "PORT".to_owned(), port_spec::variable);
            told.variables.insert(variable, lease.port().to_string());
            next = next.saturating_add(sockets.try_into().unwrap_or(i32::MAX));
        }
        if let Some(variable) = adoption.variable.filter(|_| next > FIRST_SOCKET) {
            let list = (FIRST_SOCKET..next).map(|socket| format!("{socket};")).collect();
            told.variables.insert(variable.to_owned(), list);
        }
        Ok(told)
    }

    /// Prepares the leases for a program with this hand-off: `number` closes the guards.
    pub(super) fn before_start(&mut self, mode: HandoffMode) {
        if mode == HandoffMode::Number {
            self.0.iter_mut().for_each(PortLease::let_go_of_guard);
        }
    }

    /// Closes this process's copies of the passed sockets, so that the kernel refuses connections
    /// once the program has exited.
    pub(super) fn after_start(&mut self) {
        self.0.iter_mut().for_each(PortLease::leave_sockets_to_child);
    }

    /// Keeps the leases alive for the descendants that the program left behind.
    pub(super) fn leave_to_children(self) {
        self.0.into_iter().for_each(PortLease::leave_to_children);
    }
}
