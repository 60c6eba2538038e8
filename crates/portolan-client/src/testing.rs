//! What the tests of this crate share.

mod fake_registry;

pub(crate) use fake_registry::{FakeRegistry, Fault, until};

use jiff::Timestamp;
use portolan_core::{Host, Registration, ServiceEndpoint, Ttl};

/// An instance of the service on this host.
pub(crate) fn endpoint(name: &str, port: u16) -> ServiceEndpoint {
    endpoint_in("default", name, port)
}

/// An instance of the service on this host, in a scope.
pub(crate) fn endpoint_in(scope: &str, name: &str, port: u16) -> ServiceEndpoint {
    let mut registration = Registration::new(name.parse().unwrap(), Host::loopback(), port);
    registration.scope = scope.parse().unwrap();
    registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH)
}

/// An address on this host where nobody listens: it was just let go of.
pub(crate) async fn nobody() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
