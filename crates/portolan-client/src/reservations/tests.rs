use portolan_port_allocator::{Depth, PortRequest};

use super::*;

/// An allocator with a table of its own.
fn config(folder: &tempfile::TempDir) -> PortAllocatorConfig {
    PortAllocatorConfig {
        runtime_dir: Some(folder.path().join("run")),
        sticky: false,
        allow_ephemeral: true,
        ..PortAllocatorConfig::default()
    }
}

#[test]
fn what_an_allocator_grants_is_a_reservation_while_the_lease_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let allocator = PortAllocator::new(config(&folder)).unwrap();
    let lazy = Lazy::new(config(&folder));
    assert_eq!(lazy.reservations().unwrap(), []);

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
    assert_eq!(lazy.reservations().unwrap(), [expected]);

    let url = format!("http://127.0.0.1:{}", lease.port());
    assert_eq!(registry_on_this_host(&lazy, std::slice::from_ref(&scope)), Some(url));
    assert_eq!(registry_on_this_host(&lazy, &[Scope::default()]), None);
    drop(lease);
    assert_eq!(registry_on_this_host(&lazy, &[scope]), None);
}

#[test]
fn a_table_that_cannot_be_opened_is_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run");
    std::fs::write(&file, "not a folder").unwrap();
    let error = Lazy::new(config(&folder)).reservations().unwrap_err().to_string();
    assert!(error.contains("cannot read who holds which port on this host"), "{error}");
    assert!(error.contains("portolan ports list"), "{error}");
}
