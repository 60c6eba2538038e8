//! The socket of the service: inherited, beside the guard of a wrapper, or on a port that this process leases.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portolan_agent::advertised_host;
use portolan_client::environment::ClientEnvironment;
use portolan_core::{Scope, ServiceName};
use tokio::net::TcpListener;
use tracing::info;

use crate::environment::{demanded_port, inherited_listener};
use crate::error::ServiceError;
use crate::options::ServiceOptions;
use crate::published::{PublishedService, publish};

/// A service that listens and is not published yet.
#[derive(Debug)]
pub struct BoundService {
    pub(crate) options: ServiceOptions,
    pub(crate) environment: ClientEnvironment,
    pub(crate) name: ServiceName,
    pub(crate) scope: Scope,
    pub(crate) address: SocketAddr,
    /// Whether a wrapper publishes the service.
    pub(crate) is_wrapped: bool,
}

// === impl BoundService ===

impl BoundService {
    /// Returns the address that the service listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns whether a wrapper such as `portolan run` publishes the service.
    pub fn is_wrapped(&self) -> bool {
        self.is_wrapped
    }

    /// Registers and announces the service, unless a wrapper does. Call it once the server accepts.
    ///
    /// A registry that cannot be reached is no error: it is tried again until it can.
    pub async fn publish(self) -> Result<PublishedService, ServiceError> {
        publish(self).await
    }
}

pub(crate) async fn bind(
    options: ServiceOptions,
) -> Result<(TcpListener, BoundService), ServiceError> {
    let name: ServiceName = options.name.parse()?;
    let mut environment = ClientEnvironment::read()?;
    if let Some(registry) = options.registry.clone() {
        environment.registry = registry;
    }
    let scope = options.scope.clone().or_else(|| environment.scope.clone()).unwrap_or_default();
    let (listener, is_wrapped) = match inherited_listener()? {
        Some(listener) => (listener, true),
        None => {
            let ip = match options.address {
                Some(address) => address,
                None => default_address(&environment.registry.url).await,
            };
            listen(&options, &name, &scope, ip).await?
        }
    };
    let address = listener.local_addr().map_err(ServiceError::Inherited)?;
    info!(service_name = %name, %address, is_wrapped, "Listening");
    Ok((listener, BoundService { options, environment, name, scope, address, is_wrapped }))
}

/// Returns the loopback address if the registry is on this host: nobody else learns of the service.
async fn default_address(registry_url: &str) -> IpAddr {
    let url = registry_url.to_owned();
    let host = tokio::task::spawn_blocking(move || advertised_host(&url)).await;
    match host {
        Ok(host) if !host.is_loopback() => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Ok(_) | Err(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// Listens on the port that the environment demands, or on a leased one, and says whether a wrapper publishes the service.
#[cfg(target_os = "linux")]
async fn listen(
    options: &ServiceOptions,
    name: &ServiceName,
    scope: &Scope,
    ip: IpAddr,
) -> Result<(TcpListener, bool), ServiceError> {
    use portolan_port_allocator::{PortAllocator, PortRequest};

    let allocator = PortAllocator::new(Default::default())?;
    let demanded = demanded_port()?;
    let is_held = |port: u16| {
        let holds = |holder: &portolan_port_allocator::Holder| {
            holder.port == port && holder.service == *name && holder.scope == *scope && holder.alive
        };
        allocator.holders().iter().any(holds)
    };
    if let Some(port) = demanded.filter(|port| is_held(*port)) {
        // The wrapper's guard lets a socket with SO_REUSEADDR bind beside it, which tokio sets.
        return Ok((listen_on(SocketAddr::new(ip, port)).await?, true));
    }
    let request = PortRequest::new(name.clone()).scope(scope.clone()).address(ip.into());
    let request = match (demanded, options.preferred_port) {
        (Some(port), _) => request.preferred(port).strict(true),
        (None, Some(port)) => request.preferred(port),
        (None, None) => request,
    };
    let lease = tokio::task::spawn_blocking(move || allocator.request(request)).await;
    let listener = lease.map_err(ServiceError::server)??.into_listener()?;
    listener.set_nonblocking(true).map_err(ServiceError::Inherited)?;
    Ok((TcpListener::from_std(listener).map_err(ServiceError::Inherited)?, false))
}

/// The same without leases: the demanded or preferred port, or any.
#[cfg(not(target_os = "linux"))]
async fn listen(
    options: &ServiceOptions,
    _: &ServiceName,
    _: &Scope,
    ip: IpAddr,
) -> Result<(TcpListener, bool), ServiceError> {
    if let Some(port) = demanded_port()? {
        return Ok((listen_on(SocketAddr::new(ip, port)).await?, false));
    }
    let preferred = SocketAddr::new(ip, options.preferred_port.unwrap_or(0));
    match listen_on(preferred).await {
        Ok(listener) => Ok((listener, false)),
        Err(_) => Ok((listen_on(SocketAddr::new(ip, 0)).await?, false)),
    }
}

async fn listen_on(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    TcpListener::bind(address).await.map_err(|source| ServiceError::Listen { address, source })
}
