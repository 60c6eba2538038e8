use parking_lot::Mutex;
use portolan_core::endpoint::DRAINING;
use portolan_core::{HealthStatus, Host};

use super::*;
use crate::client::DiscoveryClient;
use crate::strategy::{
    Position, Strategy, StrategyFuture, StrategyKind, StrategyOutcome, StrategyQuery,
};
use crate::testing::{FakeRegistry, endpoint, quiet, until};

const LONG: Duration = Duration::from_secs(20);

fn client_of(registry: &FakeRegistry) -> DiscoveryClient {
    quiet(&["registry"]).registry_url(registry.url()).build().unwrap()
}

fn ports(instances: &ServiceInstances) -> Vec<u16> {
    let mut ports: Vec<u16> = instances.current().iter().map(|one| one.port).collect();
    ports.sort_unstable();
    ports
}

/// Waits until these are the usable instances.
async fn until_ports(instances: &ServiceInstances, expected: &[u16]) {
    let mut changes = instances.changes();
    let is_met = |usable: &Arc<[Arc<ServiceEndpoint>]>| {
        let mut ports: Vec<u16> = usable.iter().map(|one| one.port).collect();
        ports.sort_unstable();
        ports == expected
    };
    let met = tokio::time::timeout(LONG, changes.wait_for(is_met)).await;
    assert!(met.is_ok(), "{expected:?} expected, {instances:?}");
}

fn draining(port: u16) -> ServiceEndpoint {
    let (key, value) = DRAINING;
    let mut endpoint = endpoint("api", port);
    endpoint.metadata.insert(key.to_owned(), value.to_owned());
    endpoint
}

/// Knows the instances that a test sets, and has no feed.
#[derive(Clone, Default)]
struct Listed(Arc<Mutex<Vec<ServiceEndpoint>>>);

impl Strategy for Listed {
    fn kind(&self) -> StrategyKind {
        StrategyKind::new("listed")
    }

    fn find<'a>(&'a self, _: &'a StrategyQuery) -> StrategyFuture<'a> {
        let listed = self.0.lock().clone();
        Box::pin(async move {
            StrategyOutcome::Found(listed.into_iter().map(|one| one.into()).collect())
        })
    }
}

#[tokio::test]
async fn registry_changes_update_the_set() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    let client = client_of(&registry);
    let instances = client.instances("api").await.unwrap();
    assert_eq!(ports(&instances), [1]);
    registry.put(endpoint("api", 2));
    registry.put(endpoint("other", 9));
    until_ports(&instances, &[1, 2]).await;
    registry.put(draining(1));
    until_ports(&instances, &[2]).await;
    registry.expire(&endpoint("api", 2));
    until_ports(&instances, &[1]).await;
    registry.expire(&endpoint("api", 1));
    until_ports(&instances, &[]).await;
    registry.put(endpoint("api", 3));
    until_ports(&instances, &[3]).await;
    client.close().await;
    let closed = instances.wait(LONG).await.unwrap_err();
    assert!(matches!(closed, DiscoverError::Closed), "{closed:?}");
}

#[tokio::test]
async fn worse_instances_are_usable_only_without_better_ones() {
    let registry = FakeRegistry::start().await;
    let with = |port, health| ServiceEndpoint { health, ..endpoint("api", port) };
    let starting = ServiceEndpoint {
        health_url: Some("http://127.0.0.1:3/".to_owned()),
        ..endpoint("api", 3)
    };
    registry.put(draining(1));
    let client = client_of(&registry);
    let instances = client.instances("api").await.unwrap();
    assert_eq!(ports(&instances), [1]);
    let critical = with(2, HealthStatus::Critical);
    let warning = with(4, HealthStatus::Warning);
    let passing = with(5, HealthStatus::Passing);
    let steps: [(_, &[u16]); 4] =
        [(critical, &[2]), (starting, &[3]), (warning, &[4]), (passing, &[4, 5])];
    for (better, expected) in steps {
        registry.put(better);
        until_ports(&instances, expected).await;
    }
}

#[tokio::test]
async fn failed_instance_is_left_out_until_it_reports_again() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    registry.put(endpoint("api", 2));
    let client = client_of(&registry);
    let instances = client.instances("api").await.unwrap();
    until("the watch to open", || registry.watches() == 1).await;
    let picked = instances.pick().unwrap();
    let (failed, other) = (picked.port, 3 - picked.port);
    picked.fail();
    assert_eq!(ports(&instances), [other]);
    until_ports(&instances, &[other]).await;
    // A report through the client counts as well. With both suspect, both are usable again.
    client.report_failure(&endpoint("api", other));
    until_ports(&instances, &[1, 2]).await;

    let healthy = HealthStatus::Passing;
    registry.put(ServiceEndpoint { health: healthy, ..endpoint("api", failed) });
    until_ports(&instances, &[failed]).await;
}

#[tokio::test(start_paused = true)]
async fn suspicion_ends_after_a_while() {
    let listed = Listed::default();
    *listed.0.lock() = vec![endpoint("api", 1), endpoint("api", 2)];
    let client = quiet(&["config"]).strategy(Position::First, listed).build().unwrap();
    let instances = client.instances("api").await.unwrap();
    let mut changes = instances.changes();
    instances.report_failure(&endpoint("api", 1));
    changes.wait_for(|usable| usable.len() == 1).await.unwrap();
    changes.wait_for(|usable| usable.len() == 2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn instances_without_a_feed_are_looked_up_again() {
    let listed = Listed::default();
    *listed.0.lock() = vec![endpoint("api", 1)];
    let client = quiet(&["config"]).strategy(Position::First, listed.clone()).build().unwrap();
    let instances = client.instances("api").await.unwrap();
    assert_eq!(ports(&instances), [1]);
    *listed.0.lock() = vec![endpoint("api", 2)];
    until_ports(&instances, &[2]).await;

    // A failure makes the lookup due at once, not at the end of the interval.
    let before = tokio::time::Instant::now();
    *listed.0.lock() = vec![endpoint("api", 3)];
    instances.report_failure(&endpoint("api", 2));
    until_ports(&instances, &[3]).await;
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

#[tokio::test]
async fn set_is_empty_until_the_service_starts() {
    let registry = FakeRegistry::start().await;
    let client = client_of(&registry);
    let instances = client.instances("api").await.unwrap();
    assert!(instances.pick().is_none());
    let error = instances.wait(Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotFound { .. }), "{error:?}");
    let (waiting, ()) =
        tokio::join!(instances.pick_within(LONG), async { registry.put(endpoint("api", 1)) });
    assert_eq!(waiting.unwrap().port, 1);

    let critical = HealthStatus::Critical;
    registry.put(ServiceEndpoint { health: critical, ..endpoint("api", 1) });
    let mut changes = instances.changes();
    changes.wait_for(|usable| usable[0].health == critical).await.unwrap();
    let error = instances.wait(Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, DiscoverError::NotReady { .. }), "{error:?}");
}

#[tokio::test]
async fn invalid_name_and_closed_client_are_errors() {
    let client = quiet(&["config"]).build().unwrap();
    let error = client.instances("no name").await.unwrap_err();
    assert!(matches!(error, DiscoverError::InvalidName(_)), "{error:?}");
    client.close().await;
    let error = client.instances("api").await.unwrap_err();
    assert!(matches!(error, DiscoverError::Closed), "{error:?}");
}

#[tokio::test]
async fn task_ends_with_the_last_clone() {
    let registry = FakeRegistry::start().await;
    let client = client_of(&registry);
    let instances = client.instances("api").await.unwrap();
    let clone = instances.clone();
    until("the watch to open", || registry.watches() == 1).await;
    drop(instances);
    assert_eq!(registry.watches(), 1);
    drop(clone);
    until("the watch to end", || registry.watches() == 0).await;
}

#[tokio::test]
async fn instances_stay_while_the_registry_cannot_be_reached() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    let client = client_of(&registry);
    let instances = client.instances("api").await.unwrap();
    until("the watch to open", || registry.watches() == 1).await;
    let lookups = || registry.requests().iter().filter(|line| line.contains("/services?")).count();
    let before = lookups();
    registry.inject(crate::testing::Fault::Status(503));
    instances.report_failure(&endpoint("api", 1));
    until("a lookup that fails", || lookups() > before).await;
    assert_eq!(ports(&instances), [1]);
    assert!(instances.pick_except(&[endpoint("api", 1).id]).is_none());
}

#[tokio::test]
async fn near_instances_precede_others_that_are_as_usable() {
    let elsewhere = |port, zone: &str| {
        let host: Host = "192.0.2.1".parse().unwrap();
        let mut endpoint = ServiceEndpoint { host, ..endpoint("api", port) };
        endpoint.metadata.insert("zone".to_owned(), zone.to_owned());
        endpoint
    };
    let listed = Listed::default();
    *listed.0.lock() = vec![endpoint("api", 1), elsewhere(2, "a"), elsewhere(3, "b")];
    let client = quiet(&["config"]).strategy(Position::First, listed).build().unwrap();
    let round_robin = LoadBalancingPolicy::RoundRobin;
    let picked = |instances: &ServiceInstances| {
        let mut ports: Vec<u16> = (0..9).map(|_| instances.pick().unwrap().port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    let all = client.instances("api").policy(round_robin).await.unwrap();
    assert_eq!(picked(&all), [1, 2, 3]);
    let near = client.instances("api").policy(round_robin).prefer_same_host(true);
    let near = near.prefer_zone("a").await.unwrap();
    assert_eq!(picked(&near), [1]);
    near.report_failure(&endpoint("api", 1));
    assert_eq!(picked(&near), [2]);
    near.report_failure(&elsewhere(2, "a"));
    assert_eq!(picked(&near), [3]);
}
