//! The ports that a service has: the main one first, then the named ones.

use std::collections::BTreeMap;

use portolan_core::{Pools, PortName};
use portolan_port_allocator::{AllocatorError, PortAllocator, PortLease};

use super::{PortSpec, ServiceSpec, ports};
use crate::child::{FIRST_SOCKET, Inheritance};
use crate::handoff::{Adoption, Way};
use crate::placeholders::Places;

/// The leases of one service, at least one.
#[derive(Debug)]
pub(super) struct Leases(Vec<PortLease>);

/// What a program is told of its ports.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What stands in the places of its command and its variables.
    pub(super) places: Places,
    /// Variables that it gets where it does not have them already.
    pub(super) variables: BTreeMap<String, String>,
}

// === impl Leases ===

impl Leases {
    /// All the ports of the service, or none.
    pub(super) fn request(
        allocator: &PortAllocator,
        spec: &ServiceSpec,
        port: &PortSpec,
        pools: &Pools,
    ) -> Result<Self, AllocatorError> {
        allocator.request_all(port.requests(spec, pools)).map(Self)
    }

    /// The main port.
    pub(super) fn port(&self) -> u16 {
        self.0[0].port()
    }

    /// Every port, the main one first.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.0.iter().map(PortLease::port).collect()
    }

    /// The further ports under their names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&PortName, u16)> {
        self.0.iter().filter_map(|lease| Some((lease.port_name()?, lease.port())))
    }

    /// What the program inherits with them. The sockets listen from now on.
    pub(super) fn inheritance(&self) -> Result<Inheritance<'_>, AllocatorError> {
        let mut inheritance = Inheritance::default();
        let mut met = Vec::new();
        for lease in &self.0 {
            let name = lease.port_name().map_or(lease.service().as_str(), PortName::as_str);
            for socket in lease.listening_sockets()? {
                met.push(std::os::fd::AsRawFd::as_raw_fd(&socket));
                inheritance.sockets.push((name.to_owned(), socket));
            }
        }
        for kept in self.0.iter().flat_map(PortLease::inherited_fds) {
            // A second descriptor of a socket would keep it open when the program closes the first.
            let number = std::os::fd::AsRawFd::as_raw_fd(&kept);
            if !met.contains(&number) {
                met.push(number);
                inheritance.kept.push(kept);
            }
        }
        Ok(inheritance)
    }

    /// What the program is told of them.
    pub(super) fn told(&self, adoption: Adoption) -> Result<Told, AllocatorError> {
        let (mut told, mut next) = (Told::default(), FIRST_SOCKET);
        for lease in &self.0 {
            let sockets = lease.listening_sockets()?.len();
            told.places.add(lease.port_name(), lease.port(), (sockets > 0).then_some(next));
            let variable = lease.port_name().map_or_else(|| "PORT".to_owned(), ports::variable);
            told.variables.insert(variable, lease.port().to_string());
            next = next.saturating_add(sockets.try_into().unwrap_or(i32::MAX));
        }
        if let Some(variable) = adoption.variable.filter(|_| next > FIRST_SOCKET) {
            let list = (FIRST_SOCKET..next).map(|socket| format!("{socket};")).collect();
            told.variables.insert(variable.to_owned(), list);
        }
        Ok(told)
    }

    /// Makes them ready for a program that starts this way: what it would not start beside is let
    /// go.
    pub(super) fn before_start(&mut self, way: Way) {
        if way == Way::Number {
            self.0.iter_mut().for_each(PortLease::let_go_of_guard);
        }
    }

    /// The program has the sockets now, and nobody else: when it is gone, the kernel refuses
    /// connections.
    pub(super) fn after_start(&mut self) {
        self.0.iter_mut().for_each(PortLease::leave_sockets_to_child);
    }

    /// Leaves them to what the program left behind.
    pub(super) fn leave_to_children(self) {
        self.0.into_iter().for_each(PortLease::leave_to_children);
    }
}
