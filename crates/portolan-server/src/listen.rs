//! Leases and binds the registry's own port, so that the reservation table knows where it listens.

use portolan_core::{PortRange, Scope};
use portolan_port_allocator::{BindAddress, Depth, PortAllocator, PortRequest};
use tokio::net::TcpListener;

use crate::{REGISTRY_SERVICE, ServerError, Settings};

/// How many ports after the configured one are tried with `on_any_port`: one for each stack that
/// runs on the same machine.
const ALTERNATIVES: u16 = 99;

/// Leases the configured port, or one of its [`ALTERNATIVES`] with `on_any_port`, and listens on
/// it. The port stays leased to the registry while the socket listens.
pub(crate) fn listen(
    settings: &Settings,
    allocator: &PortAllocator,
    scope: &Scope,
    on_any_port: bool,
) -> Result<TcpListener, ServerError> {
    let address = settings.service_registry.listen_address;
    let last = address.port().saturating_add(if on_any_port { ALTERNATIVES } else { 0 });
    let range = PortRange::new(address.port(), last).map_err(|_| ServerError::PortZero)?;
    let request =
        PortRequest::new(REGISTRY_SERVICE.parse().expect("the registry's service name is valid"))
            .scope(scope.clone())
            .preferred(address.port())
            .range(range)
            .depth(Depth::Bound)
            .address(BindAddress::from(address.ip()))
            .allow_ephemeral(false);
    let listener = allocator.request(request)?.into_listener()?;
    let to_tokio = |listener: std::net::TcpListener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    to_tokio(listener).map_err(|source| ServerError::Listen { address, source })
}
