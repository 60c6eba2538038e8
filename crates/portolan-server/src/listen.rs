//! The registry's own port: leased like any other, so that its place is known on this host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portolan_core::{PortRange, Scope, ServiceName};
use portolan_port_allocator::{BindAddress, Depth, PortAllocator, PortLease, PortRequest};
use tokio::net::TcpListener;

use crate::server::ServerError;
use crate::{REGISTRY_SERVICE, Settings};

/// Where a registry looks when the port that it is configured for is taken and any will do.
/// Beyond 7001, which is the broadcast channel's, though that is UDP and would not collide.
const FALLBACK: (u16, u16) = (7002, 7099);

/// A listening socket, and the lease that reserves its port.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) lease: PortLease,
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// Leases and listens on exactly the configured address, or near it where any port will do.
pub(crate) fn listen(
    settings: &Settings,
    allocator: &PortAllocator,
    scope: &Scope,
    on_any_port: bool,
) -> Result<Listening, ServerError> {
    let address = settings.service_registry.listen_address;
    let host = match on_any_port && address == portolan_registry::RegistryConfig::default().listen_address {
        // A stack on one's own machine is nobody else's business unless somebody says so.
        true => IpAddr::from(Ipv4Addr::LOCALHOST),
        false => address.ip(),
    };
    let range = match on_any_port {
        true => PortRange::new(FALLBACK.0, FALLBACK.1),
        false => PortRange::new(address.port(), address.port()),
    };
    let name: ServiceName = REGISTRY_SERVICE.parse().expect("the registry's own name is one");
    let request = PortRequest::new(name)
        .scope(scope.clone())
        .preferred(address.port())
        .range(range.map_err(|_| ServerError::PortZero)?)
        .depth(Depth::Bound)
        .address(BindAddress::from(host))
        .allow_ephemeral(false)
        .sticky(false);
    let lease = allocator.request(request)?;
    let listener = lease.listener().and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    let listener = listener.map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
    Ok(Listening { lease, listener, address })
}
