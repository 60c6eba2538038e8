use std::thread;

use portolan_core::Change;
use tokio::runtime;

use super::*;
use crate::testing::{FakeRegistry, endpoint, quiet};

/// Starts a registry on a runtime of its own, separate from the client's.
fn registry() -> (runtime::Runtime, FakeRegistry) {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap();
    let registry = runtime.block_on(FakeRegistry::start());
    (runtime, registry)
}

fn client_of(registry: &FakeRegistry) -> DiscoveryClient {
    quiet(&["registry"]).registry_url(registry.url()).build_blocking().unwrap()
}

#[test]
fn program_without_a_runtime_discovers_and_watches() {
    let (_runtime, registry) = registry();
    registry.put(endpoint("api", 1));
    let client = client_of(&registry);
    let found = client.request("api").timeout(Duration::from_secs(5)).retries(1).one().unwrap();
    assert_eq!(found.port, 1);
    client.report_failure(&found);
    let all = client.discover_all("api").unwrap();
    assert_eq!(all.len(), 1);
    let explanation = client.request("api").strategies(["registry"]).explain().unwrap();
    assert!(explanation.result.is_ok());
    assert!(client.discover("db").is_err());

    let mut watch = client.watch("api").unwrap();
    assert!(matches!(watch.next().unwrap().change, Change::Snapshot { .. }));
    registry.put(endpoint("api", 2));
    assert_eq!(watch.next().unwrap().change.endpoint().unwrap().port, 2);
    client.close();
    assert!(watch.next().is_none());
}

#[test]
fn closed_client_fails_and_can_be_closed_twice() {
    let (_runtime, registry) = registry();
    let client = client_of(&registry);
    let clone = client.clone();
    client.close();
    clone.close();
    assert!(matches!(clone.discover("api"), Err(DiscoverError::Closed)));
    assert!(matches!(clone.watch("api"), Err(DiscoverError::Closed)));
}

#[test]
fn threads_can_look_up_concurrently() {
    let (_runtime, registry) = registry();
    registry.put(endpoint("api", 1));
    let client = client_of(&registry);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(client.discover("api").unwrap().port, 1));
        }
    });
}

#[test]
fn blocking_client_works_inside_a_runtime() {
    let (runtime, registry) = registry();
    registry.put(endpoint("api", 1));
    let asked = runtime.block_on(async { client_of(&registry).discover("api") });
    assert_eq!(asked.unwrap().port, 1);
}

#[test]
fn invalid_settings_are_refused() {
    assert!(matches!(quiet(&[]).build_blocking(), Err(BuildError::Settings(_))));
}
