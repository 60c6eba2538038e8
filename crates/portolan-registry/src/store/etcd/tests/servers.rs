//! Several servers over one cluster.

use portolan_core::{HealthReport, HealthStatus};

use super::*;

#[tokio::test]
async fn every_server_shows_what_the_others_commit() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let mut watch = second.watch().await;
    let registered = first.register(&registration("api", 1)).await.unwrap().endpoint;
    let event = next(&mut watch).await;
    assert_eq!((event.change.kind(), event.revision), ("registered", registered.revision));
    assert_eq!(event.change.endpoint(), Some(&registered));

    let report = HealthReport::new(HealthStatus::Warning, "slow");
    second.registry.update_health(&registered.id, report).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "health");
    eventually("health", || {
        first.registry.get(&registered.id).unwrap().health == HealthStatus::Warning
    })
    .await;
    second.registry.deregister(&registered.id).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "deregistered");
    let unknown = RegistryError::Unknown { id: registered.id.clone() };
    assert_eq!(first.registry.heartbeat(&registered.id).await, Err(unknown));
}

/// Nothing is committed: the watch is silent, and only etcd's answers show that it works.
#[tokio::test]
async fn view_of_a_quiet_cluster_is_confirmed_again_and_again() {
    let cluster = Cluster::start(3).await;
    let server = Server::start(&config(&cluster)).await;
    let (confirmations, last) = (AtomicU32::new(0), parking_lot::Mutex::new(Duration::ZERO));
    eventually("six confirmations", || {
        let age = server.registry.view_age();
        let before = std::mem::replace(&mut *last.lock(), age);
        let confirmed = u32::from(age < before);
        confirmations.fetch_add(confirmed, Ordering::Relaxed) + confirmed >= 6
    })
    .await;
}

#[tokio::test]
async fn registrations_survive_the_end_of_all_servers_and_watches_resume() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let server = Server::start(&config).await;
    let registered = server.register(&registration("api", 1)).await.unwrap().endpoint;
    server.kill().await;
    let again = Server::start(&config).await;
    assert!(!again.registry.is_incomplete());
    assert_eq!(again.registry.list(), std::slice::from_ref(&registered));
    // A watch goes on at another server with the revision of the one that it had.
    let query = WatchQuery { from: Some(registered.revision), ..WatchQuery::default() };
    let mut watch = again.registry.watch(query);
    again.register(&registration("api", 2)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
}

#[tokio::test]
async fn health_report_that_reports_nothing_new_writes_nothing() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let server = Server::start(&config).await;
    let id = server.register(&registration("api", 1)).await.unwrap().endpoint.id.clone();
    let key = format!("{}/v1/endpoints/{id}", config.etcd.prefix);
    let client = cluster.client();
    let mut written = Vec::new();
    for reason in ["200 OK", "200 OK", "200 OK in 3 ms"] {
        let report = HealthReport::new(HealthStatus::Passing, reason);
        server.registry.update_health(&id, report).await.unwrap();
        let page = client.range(&portolan_etcd::KeyRange::key(&key), 1, 0).await.unwrap();
        written.push(page.keys[0].mod_revision);
    }
    assert_eq!(written[0], written[1]);
    assert!(written[1] < written[2], "{written:?}");
}

#[tokio::test]
async fn heartbeats_at_another_server_keep_an_instance_registered() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let mut watch = first.watch().await;
    let ttl = Some(Ttl::new(2 * Ttl::MIN).unwrap());
    let service = Registration { ttl, ..registration("api", 1) };
    first.register(&service).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    let id = service.id();
    for _ in 0..6 {
        let quiet = timeout(Duration::from_millis(600), watch.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        second.registry.heartbeat(&id).await.unwrap();
    }
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    let counted = r#"discovery_services_deregistered_total{service_name="api"} 1"#;
    let counts = || [&first, &second].map(|server| server.metrics.encode().contains(counted));
    eventually("counted by one server", || counts().iter().filter(|it| **it).count() == 1).await;
}

#[tokio::test]
async fn instances_of_a_server_that_is_gone_expire_and_are_checked_by_the_others() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let ids: Vec<ServiceId> = (1..=40).map(|port| registration("api", port).id()).collect();
    let owned =
        |server: &Server| ids.iter().filter(|id| server.registry.membership().owns(id)).count();
    // Until both know of both, one of them takes all for its own, and the other all or nothing.
    let shared = || [owned(&first), owned(&second)];
    let is_divided = |owned: [usize; 2]| !owned.contains(&0) && owned[0] + owned[1] == ids.len();
    eventually("two members", || is_divided(shared())).await;
    let mut watch = second.watch().await;
    first.register(&brief("api", 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    first.kill().await;
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    assert_eq!(owned(&second), ids.len());
}

#[tokio::test]
async fn server_that_shuts_down_leaves_at_once() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let server = Server::start(&config).await;
    let key = format!("{}/v1/servers/", config.etcd.prefix);
    let members = || cluster.etcdctl(&["get", "--prefix", "--keys-only", &key]);
    eventually("a member", || !members().trim().is_empty()).await;
    drop(server.stop);
    server.task.await.unwrap();
    assert_eq!(members().trim(), "");
}

#[tokio::test]
async fn lease_that_ends_in_etcd_expires_the_instance() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let server = Server::start(&config).await;
    let mut watch = server.watch().await;
    let endpoint = server.register(&registration("api", 1)).await.unwrap().endpoint;
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    let key = format!("{}/v1/endpoints/{}", config.etcd.prefix, endpoint.id);
    let lease = cluster.client().range(&portolan_etcd::KeyRange::key(&key), 1, 0).await.unwrap();
    cluster.client().revoke(EtcdLease(lease.keys[0].lease)).await.unwrap();
    let unknown = RegistryError::Unknown { id: endpoint.id.clone() };
    assert_eq!(server.registry.heartbeat(&endpoint.id).await, Err(unknown));
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    assert_eq!(cluster.etcdctl(&["get", "--prefix", "--keys-only", &key]).trim(), "");
}

#[tokio::test]
async fn value_that_is_not_readable_is_ignored_and_can_be_overwritten() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let server = Server::start(&config).await;
    let mut watch = server.watch().await;
    let id = registration("api", 1).id();
    cluster.etcdctl(&["put", &format!("{}/v1/endpoints/{id}", config.etcd.prefix), "{}"]);
    server.register(&registration("other", 2)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.endpoint().unwrap().name.as_str(), "other");
    server.register(&registration("api", 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert_eq!(server.registry.list().len(), 2);
}

#[tokio::test]
async fn batch_registers_and_renews_very_many_instances() {
    let cluster = Cluster::start(1).await;
    let server = Server::start(&config(&cluster)).await;
    let all = |command: fn(Registration) -> Command| {
        (1..=500).map(|port| command(registration("api", port))).collect::<Vec<_>>()
    };
    for commands in [all(Command::Register), all(|it| Command::Heartbeat(it.id().into()))] {
        let outcomes = server.registry.apply(commands, CommandOrigin::local()).await;
        let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_err()).collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
    assert_eq!(server.registry.list().len(), 500);
}

#[tokio::test]
async fn full_registry_rejects_new_instances_at_every_server() {
    let cluster = Cluster::start(1).await;
    let config = RegistryConfig { max_endpoints: 2, ..config(&cluster) };
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    first.register(&registration("api", 1)).await.unwrap();
    first.register(&registration("api", 2)).await.unwrap();
    eventually("both", || second.registry.list().len() == 2).await;
    for server in [&first, &second] {
        let full = server.register(&registration("api", 3)).await;
        assert_eq!(full.unwrap_err(), RegistryError::Full { limit: 2 });
        server.register(&registration("api", 1)).await.unwrap();
    }
}

/// More than a transaction of etcd may delete at once.
#[tokio::test]
async fn registration_displaces_very_many_announced_instances() {
    let cluster = Cluster::start(1).await;
    let server = Server::start(&config(&cluster)).await;
    for number in 1..=120 {
        let id = Some(format!("announced-{number}").parse().unwrap());
        let announced = Registration { id, ..registration("api", 1) };
        let origin = CommandOrigin::broadcast([10, 0, 0, number].into());
        let outcomes = server.registry.apply(vec![Command::Register(announced)], origin).await;
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
    }
    assert_eq!(server.registry.list().len(), 120);
    let mut watch = server.watch().await;
    let registered = server.register(&registration("web", 1)).await.unwrap();
    assert_eq!(registered.displaced.len(), 120);
    for _ in 0..120 {
        assert_eq!(next(&mut watch).await.change.kind(), "deregistered");
    }
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert_eq!(server.registry.list(), [registered.endpoint]);
}
