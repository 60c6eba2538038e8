//! The registry's own port: leased like any other, so that its place is known on this host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portolan_core::{PortRange, Scope};
use portolan_port_allocator::{BindAddress, Depth, PortAllocator, PortRequest};
use portolan_registry::RegistryConfig;
use tokio::net::TcpListener;

use crate::server::ServerError;
use crate::{REGISTRY_SERVICE, Settings};

/// How many ports behind the configured one a registry looks at where any port will do: as many
/// stacks run side by side on one machine.
const NEIGHBOURS: u16 = 99;

/// Leases and listens on exactly the configured address, or near it where any port will do. The
/// port stays reserved in the registry's name while the socket listens.
pub(crate) fn listen(
    settings: &Settings,
    allocator: &PortAllocator,
    scope: &Scope,
    on_any_port: bool,
) -> Result<TcpListener, ServerError> {
    let address = settings.service_registry.listen_address;
    let last = address.port().saturating_add(if on_any_port { NEIGHBOURS } else { 0 });
    let range = PortRange::new(address.port(), last).map_err(|_| ServerError::PortZero)?;
    let request = PortRequest::new(REGISTRY_SERVICE.parse().expect("the registry's name is one"))
        .scope(scope.clone())
        .preferred(address.port())
        .range(range)
        .depth(Depth::Bound)
        .address(BindAddress::from(host(address, on_any_port)))
        .allow_ephemeral(false);
    let listener = allocator.request(request)?.into_listener()?;
    let to_tokio = |listener: std::net::TcpListener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    to_tokio(listener).map_err(|source| ServerError::Listen { address, source })
}

/// A stack on one's own machine is nobody else's business unless somebody says so.
fn host(address: SocketAddr, on_any_port: bool) -> IpAddr {
    let nobody_said_so = address == RegistryConfig::default().listen_address;
    match on_any_port && nobody_said_so {
        true => IpAddr::from(Ipv4Addr::LOCALHOST),
        false => address.ip(),
    }
}
