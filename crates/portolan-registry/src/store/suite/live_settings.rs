//! Settings that change while a store is open.

use super::*;
use crate::RegistryConfig;

pub(super) async fn run(open: impl Fn() -> StoreParts) {
    limits_hold_for_registrations_that_come_later(Case::open(&open).await).await;
    ttl_default_is_that_of_registrations_that_come_later(Case::open(&open).await).await;
}

async fn limits_hold_for_registrations_that_come_later(mut case: Case) {
    let (first, second) = (registration("api", 1), registration("api", 2));
    case.register(&first).await;
    case.changes(1, PROMPTLY).await;
    let small = RegistryConfig { max_endpoints: 1, ..RegistryConfig::default() };
    case.store.reconfigure(&small).unwrap();
    let refused = case.apply(Command::Register(second.clone()), api()).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Full { limit: 1 }), "{refused}");
    // What is registered stays, and is renewed.
    case.register(&first).await;
    case.store.reconfigure(&RegistryConfig::default()).unwrap();
    case.register(&second).await;
    case.changes(1, PROMPTLY).await;
}

async fn ttl_default_is_that_of_registrations_that_come_later(mut case: Case) {
    let first = case.register(&registration("api", 1)).await.endpoint;
    let longer =
        RegistryConfig { ttl_default: Duration::from_secs(77), ..RegistryConfig::default() };
    case.store.reconfigure(&longer).unwrap();
    let second = case.register(&registration("api", 2)).await.endpoint;
    assert_eq!(second.ttl.duration(), longer.ttl_default);
    assert_ne!(first.ttl, second.ttl);
    // One that is out of bounds changes nothing.
    let invalid = RegistryConfig { ttl_default: Duration::ZERO, max_endpoints: 1, ..longer };
    case.store.reconfigure(&invalid).unwrap_err();
    let third = case.register(&registration("api", 3)).await.endpoint;
    assert_eq!(third.ttl, second.ttl);
}
