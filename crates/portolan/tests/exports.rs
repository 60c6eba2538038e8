//! Every type in the signatures of the main types can be named through the facade.

use std::net::SocketAddr;
use std::sync::Arc;

use portolan::broadcast::transport::Transport;
use portolan::client::{Reservation, Reservations, ReservationsError};
use portolan::core::Pools;
use portolan::{
    Attempt, BindAddress, DiscoverError, Discovered, DiscoveryClient, DiscoveryClientBuilder,
    Explanation, Metrics, PortAllocator, PortLease, PortRequest, Registry, RegistryClientError,
    RegistryConfig, ServiceWatch, Strategy, blocking, broadcast, client, registry,
};

/// Reservations that a program knows itself.
struct Own(Vec<Reservation>);

impl Reservations for Own {
    fn reservations(&self) -> Result<Vec<Reservation>, ReservationsError> {
        Ok(self.0.clone())
    }
}

#[test]
fn builder_of_the_facade_builds_the_client_of_the_facade() {
    let builder: DiscoveryClientBuilder = DiscoveryClient::builder();
    let builder = builder.pools(Pools::default()).reservations(Own(Vec::new()));
    let client: DiscoveryClient = builder.build().unwrap();
    assert!(format!("{client:?}").contains("http://localhost:7000"), "{client:?}");
    let builder = blocking::DiscoveryClient::builder().reservations(Own(Vec::new()));
    let client: blocking::DiscoveryClient = builder.build_blocking().unwrap();
    client.close();
}

/// Functions that compile only if every type has a path through the facade.
#[test]
fn types_in_signatures_have_paths() {
    type Found = Result<Discovered, DiscoverError>;
    let _: fn(Explanation) -> (Vec<Attempt>, Found) = |e| (e.attempts, e.result);
    let _: fn(PortRequest, BindAddress) -> PortRequest = PortRequest::address;
    let _: fn(PortLease) -> u16 = |lease| lease.port();
    let _: fn(&PortAllocator) -> Vec<portolan::ports::Holder> = PortAllocator::holders;
    let _: fn(&RegistryClientError) -> bool = RegistryClientError::is_temporary;
    let _: fn(&RegistryConfig) -> Registry =
        |config| registry::open(config, Metrics::new()).unwrap().1;
    let _: fn(Box<dyn Strategy>) -> &'static str = |strategy| strategy.kind().name;
    let _: fn(ServiceWatch) = drop;
    let _: Option<client::ConfiguredEndpoints> = None;
    let _: Option<(broadcast::SharedKey, SocketAddr, Arc<dyn Reservations>)> = None;
    let _: Option<(broadcast::ChannelConfig, broadcast::KeyFile, broadcast::KeyProblem)> = None;
    let _: Option<broadcast::Reach> = None;
    fn over<T: Transport>(_: Option<T>) {}
    over::<broadcast::transport::memory::MemoryTransport>(None);
}
