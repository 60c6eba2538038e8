//! Leases of very many instances that end at once.

use std::path::Path;

use portolan_core::{Change, HealthStatus, Incarnation, ServiceEvent, Ttl};

use super::super::*;
use super::{Running, next, registration, start};
use crate::MassExpiryConfig;

const TTL: Duration = Duration::from_secs(10);
const COUNT: u16 = 20;
/// How late a lease may end.
const LATE: Duration = Duration::from_secs(1);

fn service(port: u16, ttl: Duration) -> Registration {
    Registration { ttl: Some(Ttl::new(ttl).unwrap()), ..registration("api", port) }
}

/// Registers healthy instances, within half a TTL.
async fn register(registry: &Registry, count: u16, ttl: Duration) {
    for port in 1..=count {
        registry.register(service(port, ttl), CommandOrigin::local()).await.unwrap();
        let passing = HealthReport::new(HealthStatus::Passing, "well");
        registry.update_health(service(port, ttl).id(), passing).await.unwrap();
        tokio::time::sleep(ttl / 2 / u32::from(count)).await;
    }
}

/// Registers healthy instances whose leases end at the same time, however long it takes.
async fn register_at_once(registry: &Registry, count: u16, ttl: Duration) {
    let passing = || HealthReport::new(HealthStatus::Passing, "well");
    let registered = (1..=count).map(|port| Command::Register(service(port, ttl)));
    let healthy =
        (1..=count).map(|port| Command::Health(service(port, ttl).id().into(), passing()));
    for outcome in registry.apply(registered.chain(healthy).collect(), CommandOrigin::local()).await
    {
        outcome.unwrap();
    }
}

/// Starts a registry, and waits until it is complete: a watch then gets no second snapshot.
async fn start_complete(mass_expiry: MassExpiryConfig) -> Running {
    let config = RegistryConfig { history: 100_000, mass_expiry, ..RegistryConfig::default() };
    let running = start(&config);
    tokio::time::sleep(config.heartbeat_interval()).await;
    assert!(!running.registry.is_incomplete());
    running
}

/// A watch from now on.
async fn watch(registry: &Registry) -> EventStream {
    let mut watch = registry.watch(WatchQuery::default());
    assert_eq!(next(&mut watch).await.change.kind(), "snapshot");
    watch
}

/// Asserts that an instance is kept, and returns its reason.
fn assert_kept(event: &Arc<ServiceEvent>) -> &str {
    let Change::Health { endpoint } = &event.change else { panic!("{event:?}") };
    assert_eq!(endpoint.health, HealthStatus::Unknown);
    &endpoint.health_reason
}

fn protected(running: &Running) -> String {
    let text = running.metrics.encode();
    let line = text.lines().find(|it| it.starts_with("discovery_registry_protected_instances "));
    line.unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn instances_whose_leases_end_with_most_others_are_kept_for_a_while() {
    let running = start_complete(MassExpiryConfig::default()).await;
    let registry = &running.registry;
    let began = Instant::now();
    register(registry, COUNT, TTL).await;
    let mut watch = watch(registry).await;
    for port in 1..=COUNT {
        let event = next(&mut watch).await;
        assert_eq!(event.change.endpoint().unwrap().port, port);
        let reason = assert_kept(&event);
        assert!(port > 1 || began.elapsed() < TTL + LATE, "marked when its lease ends");
        let expected = " of 20 instances of api at about the same time: it is kept for 5m";
        assert!(reason.contains(expected), "{reason}");
    }
    tokio::time::sleep(LATE / 10).await;
    assert_eq!(protected(&running), "20");
    // One comes back, and one ends.
    registry.heartbeat(service(2, TTL).id()).await.unwrap();
    let Change::Health { endpoint } = &next(&mut watch).await.change else { panic!() };
    assert_eq!((endpoint.health, &*endpoint.health_reason), (HealthStatus::Passing, "well"));
    registry.deregister(service(3, TTL).id()).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "deregistered");
    // The one that came back is dead again. It is kept too, as most others still are, and longer than they.
    assert_kept(&next(&mut watch).await);
    let keep = RegistryConfig::default().mass_expiry.keep;
    for port in (1..=COUNT).filter(|port| ![2, 3].contains(port)).chain([2]) {
        let event = next(&mut watch).await;
        assert_eq!((event.change.kind(), event.change.endpoint().unwrap().port), ("expired", port));
        let end = began + TTL * u32::from(port) / 2 / u32::from(COUNT) + TTL + keep;
        assert!(port == 2 || Instant::now() < end + LATE, "{port} is kept too long");
    }
    tokio::time::sleep(LATE).await;
    assert_eq!((registry.list().len(), &*protected(&running)), (0, "0"));
}

/// The service was restarted meanwhile: at the same address it is as before, at another one it was not checked yet.
#[tokio::test(start_paused = true)]
async fn kept_instance_that_registers_again_is_kept_no_longer() {
    let running = start_complete(MassExpiryConfig::default()).await;
    let registry = &running.registry;
    register_at_once(registry, COUNT, TTL).await;
    let mut watch = watch(registry).await;
    for _ in 0..COUNT {
        assert_kept(&next(&mut watch).await);
    }
    let run = Registration { incarnation: Some(Incarnation::new(7)), ..service(1, TTL) };
    let moved = Registration { id: Some(service(2, TTL).id()), ..service(102, TTL) };
    for (registration, expected) in
        [(run, (HealthStatus::Passing, "well")), (moved, (HealthStatus::Unknown, ""))]
    {
        let registered = registry.register(registration, CommandOrigin::local()).await.unwrap();
        let endpoint = &registered.endpoint;
        assert_eq!((endpoint.health, &*endpoint.health_reason), expected);
    }
    tokio::time::sleep(2 * LATE).await;
    assert_eq!(protected(&running), "18");
}

#[tokio::test(start_paused = true)]
async fn single_instance_of_a_large_service_that_is_well_is_dropped_on_time() {
    let running = start_complete(MassExpiryConfig::default()).await;
    let registry = &running.registry;
    register(registry, COUNT, TTL).await;
    let mut watch = watch(registry).await;
    let renew = async {
        loop {
            for port in 2..=COUNT {
                registry.heartbeat(service(port, TTL).id()).await.unwrap();
            }
            tokio::time::sleep(TTL / 2).await;
        }
    };
    let (began, expired) = (Instant::now(), next(&mut watch));
    let expired = tokio::select! {
        event = expired => event,
        () = renew => unreachable!("for ever"),
    };
    assert_eq!((expired.change.kind(), expired.change.endpoint().unwrap().port), ("expired", 1));
    assert!(began.elapsed() < TTL + LATE);
}

#[tokio::test(start_paused = true)]
async fn protection_that_is_off_keeps_nothing() {
    let mass_expiry = MassExpiryConfig { keep: Duration::ZERO, ..MassExpiryConfig::default() };
    let running = start_complete(mass_expiry).await;
    register(&running.registry, COUNT, TTL).await;
    let mut watch = watch(&running.registry).await;
    for _ in 1..=COUNT {
        assert_eq!(next(&mut watch).await.change.kind(), "expired");
    }
}

#[tokio::test(start_paused = true)]
async fn very_many_instances_are_kept_and_end_in_small_steps() {
    let running = start_complete(MassExpiryConfig::default()).await;
    let all: Vec<_> = (1..=5000).map(|port| Command::Register(service(port, TTL))).collect();
    for outcome in running.registry.apply(all, CommandOrigin::local()).await {
        outcome.unwrap();
    }
    let mut watch = watch(&running.registry).await;
    for kind in ["health", "expired"] {
        for _ in 0..5000 {
            assert_eq!(next(&mut watch).await.change.kind(), kind);
        }
    }
}

fn open_in(data_dir: &Path, keep: Duration) -> Running {
    let mass_expiry = MassExpiryConfig { keep, ..MassExpiryConfig::default() };
    let data_dir = Some(data_dir.to_owned());
    let config = RegistryConfig { data_dir, mass_expiry, ..RegistryConfig::default() };
    let metrics = Metrics::new();
    let (task, registry) = open(&config, metrics.clone()).unwrap();
    Running::spawn(task, registry, metrics)
}

#[tokio::test]
async fn instances_are_kept_across_a_restart_and_no_longer_than_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let before = open_in(directory.path(), 4 * Ttl::MIN);
    register_at_once(&before.registry, 12, 2 * Ttl::MIN).await;
    let mut events = watch(&before.registry).await;
    for _ in 0..12 {
        assert_kept(&next(&mut events).await);
    }
    // A health report says nothing about the lease.
    let warning = HealthReport::new(HealthStatus::Warning, "slow");
    before.registry.update_health(service(1, TTL).id(), warning).await.unwrap();
    drop(before.stop);
    before.task.await.unwrap();

    let after = open_in(directory.path(), 4 * Ttl::MIN);
    let mut events = after.registry.watch(WatchQuery::default());
    let Change::Snapshot { endpoints, .. } = &next(&mut events).await.change else { panic!() };
    let unknown = endpoints.iter().filter(|it| it.health == HealthStatus::Unknown).count();
    assert_eq!((endpoints.len(), unknown), (12, 11));
    after.registry.heartbeat(service(2, TTL).id()).await.unwrap();
    let Change::Health { endpoint } = &next(&mut events).await.change else { panic!() };
    assert_eq!((endpoint.port, endpoint.health), (2, HealthStatus::Passing));
    let mut expired = Vec::new();
    while expired.len() < 11 {
        match &next(&mut events).await.change {
            Change::Expired { endpoint } => expired.push(endpoint.port),
            // The one that came back has died again.
            Change::Health { endpoint } => assert_eq!(endpoint.port, 2),
            other => panic!("{other:?}"),
        }
    }
    assert!(!expired.contains(&2), "{expired:?}");
    drop(after.stop);
    after.task.await.unwrap();
}
