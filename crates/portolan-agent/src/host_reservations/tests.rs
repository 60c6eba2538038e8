use portolan_client::{DiscoveryClient, DiscoveryClientBuilder, REGISTRY_SERVICE};
use portolan_core::{Remedy, Scope};
use portolan_port_allocator::{Depth, PortRequest};

use super::*;

/// Returns the settings of a table of its own.
fn config(directory: &tempfile::TempDir) -> PortAllocatorConfig {
    PortAllocatorConfig {
        runtime_dir: Some(directory.path().join("run")),
        sticky: false,
        allow_ephemeral: true,
        ..PortAllocatorConfig::default()
    }
}

#[test]
fn lease_is_a_reservation_and_locates_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let allocator = PortAllocator::new(config(&directory)).unwrap();
    let reservations = HostReservations::new(config(&directory));
    assert_eq!(reservations.reservations().unwrap(), []);

    let scope: Scope = "shop".parse().unwrap();
    let request = PortRequest::new(REGISTRY_SERVICE.parse().unwrap());
    let request = request.scope(scope.clone()).allow_ephemeral(true).depth(Depth::Claimed);
    let lease = allocator.request(request).unwrap();
    let expected = Reservation {
        port: lease.port(),
        service: REGISTRY_SERVICE.parse().unwrap(),
        scope: scope.clone(),
        alive: true,
    };
    assert_eq!(reservations.reservations().unwrap(), [expected]);

    let located = |scope: Scope| {
        let builder: DiscoveryClientBuilder = DiscoveryClient::builder();
        builder
            .scope(scope)
            .reservations(HostReservations::new(config(&directory)))
            .locate_registry()
    };
    assert_eq!(located(scope.clone()), format!("http://127.0.0.1:{}", lease.port()));
    assert_eq!(located(Scope::default()), "http://localhost:7000");
    drop(lease);
    assert_eq!(located(scope), "http://localhost:7000");
}

#[test]
fn table_that_cannot_be_opened_is_an_error_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("run"), "not a directory").unwrap();
    let error = HostReservations::new(config(&directory)).reservations().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cannot read the port reservations of this host"), "{text}");
    assert!(error.remedy().unwrap().contains("portolan ports list"));
}
