//! Leases of many instances that end at once, over several servers.

use portolan_core::{Change, HealthReport, HealthStatus};

use super::*;
use crate::EventStream;
use crate::MassExpiryConfig;

const COUNT: u16 = 12;
/// In seconds.
const TTL: u32 = 4;

fn service(port: u16, ttl: u32) -> Registration {
    Registration { ttl: Some(Ttl::new(ttl * Ttl::MIN).unwrap()), ..registration("api", port) }
}

/// Registers instances, and returns a watch at another server that has seen them.
async fn register(first: &Server, second: &Server, ttl: u32) -> EventStream {
    let mut watch = second.watch().await;
    // At the same time, so that their leases end so too.
    let all = (1..=COUNT).map(|port| Command::Register(service(port, ttl))).collect();
    for outcome in first.registry.apply(all, CommandOrigin::local()).await {
        outcome.unwrap();
        assert_eq!(next(&mut watch).await.change.kind(), "registered");
    }
    watch
}

#[tokio::test]
async fn instances_whose_leases_end_at_once_are_kept_by_all_servers() {
    let cluster = Cluster::start(1).await;
    let mass_expiry = MassExpiryConfig { keep: 5 * Ttl::MIN, ..MassExpiryConfig::default() };
    let config = RegistryConfig { mass_expiry, ..config(&cluster) };
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let mut watch = register(&first, &second, TTL).await;
    let passing = HealthReport::new(HealthStatus::Passing, "well");
    second.registry.update_health(service(1, TTL).id(), passing).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "health");
    for _ in 0..COUNT {
        let event = next(&mut watch).await;
        let Change::Health { endpoint } = &event.change else { panic!("{event:?}") };
        assert_eq!(endpoint.health, HealthStatus::Unknown);
        let reason = &endpoint.health_reason;
        assert!(reason.starts_with("its lease ended like those of "), "{reason}");
    }
    let gauge = "discovery_registry_protected_instances 12";
    eventually("the metric", || first.metrics.encode().contains(gauge)).await;
    // Wherever it comes back, it is as before.
    second.registry.heartbeat(service(1, TTL).id()).await.unwrap();
    let Change::Health { endpoint } = &next(&mut watch).await.change else { panic!() };
    assert_eq!((endpoint.health, &*endpoint.health_reason), (HealthStatus::Passing, "well"));
    second.registry.deregister(service(2, TTL).id()).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "deregistered");
    // A report says nothing about the lease.
    let warning = HealthReport::new(HealthStatus::Warning, "slow");
    second.registry.update_health(service(3, TTL).id(), warning).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "health");
    // The server that remains ends what the other one has kept.
    first.kill().await;
    let mut expired = Vec::new();
    while expired.len() < usize::from(COUNT) - 1 {
        match &next(&mut watch).await.change {
            Change::Expired { endpoint } => expired.push(endpoint.port),
            Change::Health { endpoint } => assert_eq!(endpoint.port, 1, "it has died again"),
            other => panic!("{other:?}"),
        }
    }
    eventually("nothing left", || second.registry.list().is_empty()).await;
}

/// The first server has heard of none for a while, and asks etcd before it keeps the one that is dead.
#[tokio::test]
async fn instances_that_another_server_renews_do_not_protect_a_dead_one() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let mut watch = register(&first, &second, TTL).await;
    let renew = async {
        loop {
            for port in 2..=COUNT {
                second.registry.heartbeat(service(port, TTL).id()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let event = tokio::select! {
        event = next(&mut watch) => event,
        () = renew => unreachable!("for ever"),
    };
    assert_eq!((event.change.kind(), event.change.endpoint().unwrap().port), ("expired", 1));
}
