//! Fixtures of this crate's tests.

mod fake_dns;
mod fake_registry;

pub(crate) use fake_dns::{FakeDns, Reply};
pub(crate) use fake_registry::{FakeRegistry, Fault, until};

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_broadcast::{BroadcastConfig, Broadcaster};
use portolan_core::{Host, Registration, ServiceEndpoint, Ttl};
use portolan_metrics::Metrics;
use tokio::net::{TcpListener, TcpSocket};

use crate::builder::DiscoveryClientBuilder;
use crate::client::DiscoveryClient;
use crate::config::DiscoveryConfig;
use crate::reservations::{Reservation, Reservations, ReservationsError};

/// Returns an instance of the service on this host.
pub(crate) fn endpoint(name: &str, port: u16) -> ServiceEndpoint {
    endpoint_in("default", name, port)
}

/// Returns an instance of the service on this host, in a scope.
pub(crate) fn endpoint_in(scope: &str, name: &str, port: u16) -> ServiceEndpoint {
    let mut registration = Registration::new(name.parse().unwrap(), Host::loopback(), port);
    registration.scope = scope.parse().unwrap();
    registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH)
}

/// A bound address on this host without a listener.
pub(crate) struct Vacant(TcpSocket);

/// Binds an address without listening on it.
pub(crate) fn vacant() -> Vacant {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    Vacant(socket)
}

impl Vacant {
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Starts to listen on the address.
    pub(crate) fn listen(self) -> TcpListener {
        self.0.listen(100).unwrap()
    }
}

/// Returns the builder of a client of these strategies that uses neither the network nor this host's
/// reservations.
pub(crate) fn quiet(strategies: &[&str]) -> DiscoveryClientBuilder {
    DiscoveryClient::builder()
        .config(config(strategies))
        .broadcast(BroadcastConfig { enabled: false, ..BroadcastConfig::default() })
        .reservations(FakeReservations::default())
}

/// Returns the default settings with these strategies.
pub(crate) fn config(strategies: &[&str]) -> DiscoveryConfig {
    let strategies = strategies.iter().map(|name| name.parse().unwrap()).collect();
    DiscoveryConfig { strategies, ..DiscoveryConfig::default() }
}

/// Joins a simulated network as one process.
pub(crate) fn on(network: &MemoryNetwork, host: u8) -> Broadcaster {
    let transport = network.host(Ipv4Addr::new(127, 0, 0, host));
    Broadcaster::with_transport(transport, &BroadcastConfig::default(), Metrics::new()).unwrap()
}

/// Reservations that a test sets.
#[derive(Clone)]
pub(crate) struct FakeReservations(Arc<Mutex<Result<Vec<Reservation>, ReservationsError>>>);

impl FakeReservations {
    pub(crate) fn hold(&self, scope: &str, service: &str, port: u16) {
        let (service, scope) = (service.parse().unwrap(), scope.parse().unwrap());
        let reservation = Reservation { port, service, scope, alive: true };
        self.0.lock().as_mut().unwrap().push(reservation);
    }

    pub(crate) fn fail(&self) {
        *self.0.lock() = Err(ReservationsError { reason: "injected".to_owned() });
    }
}

impl Default for FakeReservations {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Ok(Vec::new()))))
    }
}

impl Reservations for FakeReservations {
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError> {
        self.0.lock().clone()
    }
}
