//! What a service asks for: which port, how deep it is held, and on which address.

use std::path::PathBuf;

use portolan_core::{PortName, PortRange, Scope, ServiceName};
use portolan_reservations::Depth;

use crate::bind_address::BindAddress;

/// A wish for a port. What is not said is taken from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    pub(crate) service: ServiceName,
    pub(crate) scope: Scope,
    pub(crate) port_name: Option<PortName>,
    pub(crate) preferred: Option<u16>,
    pub(crate) pool: Option<String>,
    pub(crate) range: Option<PortRange>,
    pub(crate) depth: Depth,
    pub(crate) address: BindAddress,
    pub(crate) udp: bool,
    pub(crate) ephemeral: EphemeralFallback,
    pub(crate) http: Option<bool>,
    pub(crate) folder: Option<PathBuf>,
}

/// A port of a service. A session holds at most one lease for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LeaseKey {
    pub(crate) scope: Scope,
    pub(crate) service: ServiceName,
    pub(crate) port_name: Option<PortName>,
}

/// Whether a service whose other ports are taken may get any port of the ephemeral range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum EphemeralFallback {
    /// As `port_allocator.allow_ephemeral` says.
    #[default]
    Configured,
    /// As configured, but always if no pool, range or preferred port applies.
    IfUnspecified,
    Always,
    Never,
}

// === impl PortRequest ===

impl PortRequest {
    /// A wish for a port for this service; everything else as configured.
    pub fn new(service: ServiceName) -> Self {
        Self {
            service,
            scope: Scope::default(),
            port_name: None,
            preferred: None,
            pool: None,
            range: None,
            depth: Depth::default(),
            address: BindAddress::default(),
            udp: false,
            ephemeral: EphemeralFallback::default(),
            http: None,
            folder: None,
        }
    }

    /// The world that the service's name belongs to.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Which of the service's ports this is; its one and only, or its first, where nothing is said.
    pub fn port_name(mut self, name: PortName) -> Self {
        self.port_name = Some(name);
        self
    }

    pub(crate) fn lease_key(&self) -> LeaseKey {
        let Self { scope, service, port_name, .. } = self;
        LeaseKey { scope: scope.clone(), service: service.clone(), port_name: port_name.clone() }
    }

    /// The port to have where it is free; the pool's default port where none is said.
    pub fn preferred(mut self, port: u16) -> Self {
        self.preferred = Some(port);
        self
    }

    /// The pool to choose from; the one that the service's name tells, where none is said.
    pub fn pool(mut self, pool: &str) -> Self {
        self.pool = Some(pool.to_owned());
        self
    }

    /// The range to choose from, in place of the pool's range and default port.
    pub fn range(mut self, range: PortRange) -> Self {
        self.range = Some(range);
        self
    }

    /// How deep the port is held; [`Depth::Bound`] where nothing is said.
    pub fn depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// The address to listen on; every address where none is said. Whatever is said, a port is
    /// granted only if it is free on every address: a `localhost` that is two services is worse
    /// than another port.
    pub fn address(mut self, address: BindAddress) -> Self {
        self.address = address;
        self
    }

    /// Whether the port is needed in UDP as well as in TCP. A bound lease then holds both sockets;
    /// for the other depths the port is free in UDP when it is granted, and reserved from then on.
    pub fn udp(mut self, udp: bool) -> Self {
        self.udp = udp;
        self
    }

    /// Whether any free port will do when the range is used up; as configured where nothing is said.
    pub fn allow_ephemeral(mut self, allow: bool) -> Self {
        self.ephemeral = if allow { EphemeralFallback::Always } else { EphemeralFallback::Never };
        self
    }

    /// Allows any ephemeral port if no pool, range or preferred port applies to the service. The
    /// request is otherwise refused, because nothing says which port is meant.
    pub fn ephemeral_if_unspecified(mut self) -> Self {
        self.ephemeral = EphemeralFallback::IfUnspecified;
        self
    }

    /// Whether browsers connect to the service, so that a port which they refuse is of no use to
    /// it; as its pool says where nothing is said.
    pub fn http(mut self, http: bool) -> Self {
        self.http = Some(http);
        self
    }

    /// The folder that the service works in, which tells two copies of one project apart when the
    /// port of the last run is looked up; the one that this
    /// process worked in when the allocator was made, where none is said.
    pub fn folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }
}
