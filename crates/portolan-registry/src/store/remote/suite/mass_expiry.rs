//! Leases of many instances that end at once, over several servers.

use std::time::Duration;

use portolan_core::{
    Change, HealthReport, HealthStatus, Incarnation, Registration, ServiceEndpoint, Ttl,
};

use crate::store::remote::harness::{Server, eventually, next};
use crate::store::suite::registration;
use crate::{Command, CommandOrigin, EventStream, MassExpiryConfig, RegistryConfig};

pub(crate) const COUNT: u16 = 12;
/// In seconds.
const TTL: u32 = 4;

pub(crate) fn service(port: u16) -> Registration {
    Registration { ttl: Some(Ttl::new(TTL * Ttl::MIN).unwrap()), ..registration("api", port) }
}

/// Registers instances, and returns a watch at another server that has seen them.
pub(crate) async fn register(first: &Server, second: &Server) -> EventStream {
    let mut watch = second.watch().await;
    // At the same time, so that their leases end so too.
    let all = (1..=COUNT).map(|port| Command::Register(service(port))).collect();
    for outcome in first.registry.apply(all, CommandOrigin::local()).await {
        outcome.unwrap();
        assert_eq!(next(&mut watch).await.change.kind(), "registered");
    }
    watch
}

async fn next_health(watch: &mut EventStream) -> ServiceEndpoint {
    let event = next(watch).await;
    let Change::Health { endpoint } = &event.change else { panic!("{event:?}") };
    ServiceEndpoint::clone(endpoint)
}

pub(crate) async fn assert_kept(watch: &mut EventStream) {
    let endpoint = next_health(watch).await;
    assert_eq!(endpoint.health, HealthStatus::Unknown);
    let reason = &endpoint.health_reason;
    assert!(reason.starts_with("its lease ended like those of "), "{reason}");
}

pub(crate) async fn instances_whose_leases_end_at_once_are_kept_by_all_servers(
    config: &RegistryConfig,
) {
    let mass_expiry = MassExpiryConfig { keep: 5 * Ttl::MIN, ..MassExpiryConfig::default() };
    let config = RegistryConfig { mass_expiry, ..config.clone() };
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let mut watch = register(&first, &second).await;
    for port in [1, 4] {
        let passing = HealthReport::new(HealthStatus::Passing, "well");
        second.registry.update_health(service(port).id(), passing).await.unwrap();
        assert_eq!(next_health(&mut watch).await.health, HealthStatus::Passing);
    }
    for _ in 0..COUNT {
        assert_kept(&mut watch).await;
    }
    let gauge = "discovery_registry_protected_instances 12";
    eventually("the metric", || first.metrics.encode().contains(gauge)).await;
    // Wherever it comes back, it is as before: with a heartbeat, and with a new run at the same address.
    second.registry.heartbeat(service(1).id()).await.unwrap();
    let back = next_health(&mut watch).await;
    assert_eq!((back.health, &*back.health_reason), (HealthStatus::Passing, "well"));
    let run = Registration { incarnation: Some(Incarnation::new(7)), ..service(4) };
    let back = second.register(&run).await.unwrap().endpoint;
    assert_eq!((back.health, &*back.health_reason), (HealthStatus::Passing, "well"));
    assert_eq!(next(&mut watch).await.change.kind(), "updated");
    second.registry.deregister(service(2).id()).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "deregistered");
    // A report says nothing about the lease.
    let warning = HealthReport::new(HealthStatus::Warning, "slow");
    second.registry.update_health(service(3).id(), warning).await.unwrap();
    assert_eq!(next_health(&mut watch).await.health, HealthStatus::Warning);
    // The server that remains ends what the other one has kept.
    first.kill().await;
    let mut expired = Vec::new();
    while expired.len() < usize::from(COUNT) - 1 {
        match &next(&mut watch).await.change {
            Change::Expired { endpoint } => expired.push(endpoint.port),
            Change::Health { endpoint } => {
                assert!([1, 4].contains(&endpoint.port), "it has died again: {endpoint:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    eventually("nothing left", || second.registry.list().is_empty()).await;
}

/// The first server has not heard of the others for a while.
pub(crate) async fn instances_that_another_server_renews_do_not_protect_a_dead_one(
    config: &RegistryConfig,
) {
    let (first, second) = (Server::start(config).await, Server::start(config).await);
    let mut watch = register(&first, &second).await;
    let renew = async {
        loop {
            for port in 2..=COUNT {
                second.registry.heartbeat(service(port).id()).await.unwrap();
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
