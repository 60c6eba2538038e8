//! Requests for ports.

use std::path::PathBuf;

use portolan_core::{PortName, PortRange, Scope, ServiceName};
use portolan_reservations::Depth;

use crate::bind_address::BindAddress;

/// A request for a lease on a port. The configuration supplies what is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    pub(crate) service: ServiceName,
    pub(crate) scope: Scope,
    pub(crate) port_name: Option<PortName>,
    pub(crate) preferred: Vec<u16>,
    pub(crate) strict: bool,
    pub(crate) pool: Option<String>,
    pub(crate) range: Option<PortRange>,
    pub(crate) depth: Depth,
    pub(crate) address: BindAddress,
    pub(crate) udp: bool,
    pub(crate) ephemeral: EphemeralFallback,
    pub(crate) http: Option<bool>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) served: Vec<u16>,
    pub(crate) beyond_pool: bool,
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
    /// A request of this service with everything else as configured.
    pub fn new(service: ServiceName) -> Self {
        Self {
            service,
            scope: Scope::default(),
            port_name: None,
            preferred: Vec::new(),
            strict: false,
            pool: None,
            range: None,
            depth: Depth::default(),
            address: BindAddress::default(),
            udp: false,
            ephemeral: EphemeralFallback::default(),
            http: None,
            folder: None,
            served: Vec::new(),
            beyond_pool: false,
        }
    }

    /// Sets the scope of the service's name.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the name of this port of the service. Without it, this is the service's main port.
    pub fn port_name(mut self, name: PortName) -> Self {
        self.port_name = Some(name);
        self
    }

    pub(crate) fn lease_key(&self) -> LeaseKey {
        let Self { scope, service, port_name, .. } = self;
        LeaseKey { scope: scope.clone(), service: service.clone(), port_name: port_name.clone() }
    }

    /// Sets the preferred port, instead of the pool's default port. It may lie outside every pool, unless
    /// `port_allocator.restrict_to_ranges` is true. If it is in use, the search continues in the pool of the service, or
    /// for a service without one, in the hundred ports above it.
    pub fn preferred(self, port: u16) -> Self {
        self.preferred_ports([port])
    }

    /// Sets several preferred ports, in the order in which they are tried. See [`preferred`](Self::preferred).
    pub fn preferred_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.preferred = ports.into_iter().collect();
        self
    }

    /// Sets whether one of the preferred ports is granted, or none. It needs a preferred port and excludes a range; no
    /// ephemeral port is granted either.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Sets the pool, instead of the one that the settings or the service's name imply.
    pub fn pool(mut self, pool: &str) -> Self {
        self.pool = Some(pool.to_owned());
        self
    }

    /// Sets the range, instead of the pool's range and default port.
    pub fn range(mut self, range: PortRange) -> Self {
        self.range = Some(range);
        self
    }

    /// Sets whether the search continues in the hundred ports above the pool when that is used up. It has no effect beside a range.
    pub fn beyond_pool(mut self, continues: bool) -> Self {
        self.beyond_pool = continues;
        self
    }

    /// Sets the hold level, instead of [`Depth::Bound`].
    pub fn depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// Sets the address to listen on, instead of every address. A port is granted only if it is free
    /// on every address in any case, so that no two services share a port of `localhost`.
    pub fn address(mut self, address: BindAddress) -> Self {
        self.address = address;
        self
    }

    /// Sets whether the port is needed in UDP as well as in TCP. A bound lease then holds both
    /// sockets; with the other hold levels the UDP port is free when it is granted, and reserved.
    pub fn udp(mut self, udp: bool) -> Self {
        self.udp = udp;
        self
    }

    /// Sets whether an ephemeral port may be granted when the range is used up.
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

    /// Sets whether browsers connect to the service, so that it gets no port that they refuse,
    /// instead of the pool's setting.
    pub fn http(mut self, http: bool) -> Self {
        self.http = Some(http);
        self
    }

    /// Sets the ports on which the service listens already, such as those at which its container is published: for a
    /// [claimed](Depth::Claimed) lease they count as free. They are tried in the same order as any other.
    pub fn served(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.served = ports.into_iter().collect();
        self
    }

    /// Whether the port is the service's own, although it is in use.
    pub(crate) fn is_served(&self, port: u16) -> bool {
        self.depth == Depth::Claimed && self.served.contains(&port)
    }

    /// Sets the directory that is part of the sticky port's key, so that two working copies of one
    /// project have their own sticky ports. By default it is the working directory of this process
    /// when the allocator was created.
    pub fn folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }
}
