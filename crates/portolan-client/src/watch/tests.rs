use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_core::{Action, HealthStatus};
use tokio::time::timeout;

use super::*;
use crate::testing::{FakeRegistry, Fault, endpoint, endpoint_in, on, quiet, until, vacant};

/// Returns the kind, the revision and the ports of the next event.
async fn next(watch: &mut ServiceWatch) -> (&'static str, u64, Vec<u16>) {
    let event = timeout(Duration::from_secs(10), watch.next()).await.expect("an event in time");
    let event = event.expect("the watch goes on");
    let ports = match &event.change {
        Change::Snapshot { endpoints, .. } => endpoints.iter().map(|e| e.port).collect(),
        change => change.endpoint().iter().map(|e| e.port).collect(),
    };
    (event.change.kind(), event.revision.0, ports)
}

#[tokio::test]
async fn changes_are_reported_once_and_in_order_across_a_reconnect() {
    let registry = FakeRegistry::start().await;
    let client = quiet(&["registry"]).registry_url(registry.url()).build().unwrap();
    let mut watch = client.watch("api").await.unwrap();
    assert_eq!(next(&mut watch).await, ("snapshot", 100, vec![]));
    registry.put(endpoint("api", 1));
    assert_eq!(next(&mut watch).await, ("registered", 101, vec![1]));
    registry.put(endpoint("other", 9));

    registry.cut();
    let ill = ServiceEndpoint { health: HealthStatus::Critical, ..endpoint("api", 1) };
    registry.put(ill.clone());
    registry.expire(&ill);
    assert_eq!(next(&mut watch).await, ("updated", 103, vec![1]));
    assert_eq!(next(&mut watch).await, ("expired", 104, vec![1]));

    registry.put(endpoint("api", 2));
    assert_eq!(next(&mut watch).await, ("registered", 105, vec![2]));
    client.close().await;
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn watch_covers_the_own_scope_and_default() {
    let registry = FakeRegistry::start().await;
    registry.put(endpoint_in("other", "api", 3));
    registry.put(endpoint("api", 2));
    let client = quiet(&["registry"]).registry_url(registry.url());
    let client = client.scope("shop".parse().unwrap()).build().unwrap();
    let mut watch = client.watch_all().await.unwrap();
    assert_eq!(next(&mut watch).await, ("snapshot", 102, vec![2]));
    registry.put(endpoint_in("shop", "db", 1));
    assert_eq!(next(&mut watch).await, ("registered", 103, vec![1]));
}

#[tokio::test]
async fn without_registry_the_broadcast_channel_is_watched() {
    let network = MemoryNetwork::new(1);
    let holder = on(&network, 1);
    holder.publish(endpoint("api", 1)).unwrap();
    let client = quiet(&["broadcast"]).broadcaster(on(&network, 1)).build().unwrap();
    let mut watch = client.watch("api").await.unwrap();
    assert_eq!(next(&mut watch).await, ("snapshot", 0, vec![1]));
    holder.announce(Action::Register, &endpoint("db", 5)).await.unwrap();
    holder.announce(Action::Register, &endpoint_in("other", "api", 6)).await.unwrap();
    holder.announce(Action::Register, &endpoint("api", 2)).await.unwrap();
    assert_eq!(next(&mut watch).await, ("registered", 0, vec![2]));
    holder.announce(Action::Heartbeat, &endpoint("api", 2)).await.unwrap();
    holder.announce(Action::Deregister, &endpoint("api", 2)).await.unwrap();
    assert_eq!(next(&mut watch).await, ("deregistered", 0, vec![2]));
}

#[tokio::test]
async fn broadcast_channel_takes_over_while_the_registry_is_unreachable() {
    let network = MemoryNetwork::new(1);
    let holder = on(&network, 1);
    let registry = FakeRegistry::start().await;
    registry.put(endpoint("api", 1));
    let client = quiet(&["registry", "broadcast"])
        .registry_url(registry.url())
        .broadcaster(on(&network, 1))
        .build()
        .unwrap();
    let mut watch = client.watch("api").await.unwrap();
    assert_eq!(next(&mut watch).await, ("snapshot", 101, vec![1]));

    // While the registry is connected, announcements are ignored.
    holder.announce(Action::Register, &endpoint("api", 1)).await.unwrap();
    holder.announce(Action::Register, &endpoint("api", 7)).await.unwrap();
    registry.put(endpoint("api", 2));
    assert_eq!(next(&mut watch).await, ("registered", 102, vec![2]));

    registry.inject(Fault::Status(503));
    registry.cut();
    holder.publish(endpoint("api", 2)).unwrap();
    holder.announce(Action::Register, &endpoint("api", 3)).await.unwrap();
    let mut told = vec![next(&mut watch).await, next(&mut watch).await];
    told.sort_by_key(|(_, _, ports)| ports[0]);
    assert_eq!(told, [("registered", 0, vec![3]), ("registered", 0, vec![7])]);

    // Once it is back, the registry reports everything: 3 is known by then, 4 is not.
    registry.inject(None);
    registry.put(endpoint("api", 3));
    registry.put(endpoint("api", 4));
    assert_eq!(next(&mut watch).await, ("registered", 104, vec![4]));
}

#[tokio::test]
async fn registry_that_starts_later_becomes_the_source() {
    let network = MemoryNetwork::new(1);
    let vacant = vacant();
    let client = quiet(&["registry", "broadcast"])
        .registry_url(vacant.url())
        .broadcaster(on(&network, 1))
        .build()
        .unwrap();
    let mut watch = client.watch("api").await.unwrap();
    assert_eq!(next(&mut watch).await, ("snapshot", 0, vec![]));
    let registry = FakeRegistry::on(vacant.listen());
    registry.put(endpoint("api", 1));
    let (_, revision, ports) = next(&mut watch).await;
    assert_eq!((revision, ports), (101, vec![1]));
}

#[tokio::test]
async fn watch_without_a_feed_fails_and_without_permission_ends() {
    let client = quiet(&["default", "dns", "broadcast"]).build().unwrap();
    let error = client.watch("api").await.unwrap_err();
    assert!(error.to_string().contains("needs the strategy registry or broadcast"), "{error}");

    let registry = FakeRegistry::start().await;
    registry.inject(Fault::Status(403));
    let client = quiet(&["registry"]).registry_url(registry.url()).build().unwrap();
    let mut watch = client.watch("api").await.unwrap();
    assert!(timeout(Duration::from_secs(10), watch.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn watch_keeps_its_client_alive() {
    let registry = FakeRegistry::start().await;
    let client = quiet(&["registry"]).registry_url(registry.url()).build().unwrap();
    let mut watch = client.watch("api").await.unwrap();
    drop(client);
    assert_eq!(next(&mut watch).await.0, "snapshot");
    drop(watch);
    until("the watch to end", || registry.watches() == 0).await;
}
