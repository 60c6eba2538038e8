//! Several servers over one Consul.

use super::*;

#[tokio::test]
async fn every_server_shows_what_the_others_commit() {
    let agent = Agent::start().await;
    let config = config(&agent);
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
    // A heartbeat is answered by what its server shows.
    eventually("none", || first.registry.list().is_empty()).await;
    let unknown = RegistryError::Unknown { id: registered.id.clone() };
    assert_eq!(first.registry.heartbeat(&registered.id).await, Err(unknown));
}

#[tokio::test]
async fn registrations_survive_the_end_of_all_servers_and_watches_resume() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let server = Server::start(&config).await;
    let mut watch = server.watch().await;
    let registered = server.register(&registration("api", 1)).await.unwrap().endpoint;
    let gone = server.register(&registration("gone", 2)).await.unwrap().endpoint;
    let [first, _] = [next(&mut watch).await, next(&mut watch).await];
    server.registry.deregister(&gone.id).await.unwrap();
    let last = next(&mut watch).await;
    server.kill().await;
    for _ in 0..2 {
        let again = Server::start(&config).await;
        assert!(!again.registry.is_incomplete());
        assert_eq!(again.registry.list(), std::slice::from_ref(&registered));
        // A watch goes on at another server with the revision of the one that it had.
        let from = |revision| WatchQuery { from: Some(revision), ..WatchQuery::default() };
        let mut watch = again.registry.watch(from(last.revision));
        let quiet = timeout(Duration::from_millis(50), futures_util::StreamExt::next(&mut watch));
        assert!(quiet.await.is_err(), "nothing has changed since");
        // What is not known is told by a snapshot.
        let mut watch = again.registry.watch(from(first.revision));
        assert_eq!(next(&mut watch).await.change.kind(), "snapshot");
        again.kill().await;
    }
}

#[tokio::test]
async fn heartbeats_write_nothing_and_those_at_another_server_move_the_lease() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let mut watch = first.watch().await;
    let ttl = Some(Ttl::new(2 * Ttl::MIN).unwrap());
    let service = Registration { ttl, ..registration("api", 1) };
    first.register(&service).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    let (id, client) = (service.id(), agent.client());
    let key = format!("{}/v1/endpoints/{id}", config.consul.prefix);
    let written = async || client.key(&key).await.unwrap().unwrap().modify_index;
    let at_first = written().await;
    first.registry.heartbeat(&id).await.unwrap();
    assert_eq!(written().await, at_first);
    second.registry.heartbeat(&id).await.unwrap();
    let at_second = written().await;
    assert!(at_second > at_first);
    for _ in 0..5 {
        let quiet = timeout(Duration::from_millis(600), futures_util::StreamExt::next(&mut watch));
        assert!(quiet.await.is_err());
        second.registry.heartbeat(&id).await.unwrap();
    }
    assert_eq!(written().await, at_second);
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    let counted = r#"discovery_services_deregistered_total{service_name="api"} 1"#;
    let counts = || [&first, &second].map(|server| server.metrics.encode().contains(counted));
    eventually("counted by one server", || counts().iter().filter(|it| **it).count() == 1).await;
}

#[tokio::test]
async fn instances_of_a_server_that_is_killed_expire_and_are_checked_by_the_others() {
    let agent = Agent::start().await;
    let config = config(&agent);
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
    let kept = first.register(&registration("api", 2)).await.unwrap().endpoint;
    for _ in 0..2 {
        assert_eq!(next(&mut watch).await.change.kind(), "registered");
    }
    first.kill().await;
    // Its session ends in Consul within twice its TTL.
    let expired = next(&mut watch).await;
    assert_eq!((expired.change.kind(), owned(&second)), ("expired", ids.len()));
    second.registry.heartbeat(&kept.id).await.unwrap();
}

#[tokio::test]
async fn server_that_shuts_down_leaves_at_once() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let server = Server::start(&config).await;
    let servers = format!("{}/v1/feed/servers/", config.consul.prefix);
    let client = agent.client();
    let members = async || client.list(&servers, 0, PATIENCE).await.unwrap().entries.len();
    while members().await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(server.stop);
    server.task.await.unwrap();
    assert_eq!(members().await, 0);
}

#[tokio::test]
async fn batch_registers_and_renews_very_many_instances() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let (server, other) = (Server::start(&config).await, Server::start(&config).await);
    let all = |command: fn(Registration) -> Command| {
        (1..=700).map(|port| command(registration("api", port))).collect::<Vec<_>>()
    };
    for commands in [all(Command::Register), all(|it| Command::Heartbeat(it.id().into()))] {
        // A request may have a hundred.
        for commands in commands.chunks(100) {
            let outcomes = server.registry.apply(commands.to_vec(), CommandOrigin::local()).await;
            let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_err()).collect();
            assert!(failed.is_empty(), "{failed:?}");
        }
    }
    assert_eq!(server.registry.list().len(), 700);
    eventually("both", || other.registry.list().len() == 700).await;
    // Old changes are deleted, so that a list of them stays small.
    let changes = format!("{}/v1/feed/changes/", config.consul.prefix);
    let client = agent.client();
    while client.list(&changes, 0, PATIENCE).await.unwrap().entries.len() > 600 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn full_registry_rejects_new_instances_at_every_server() {
    let agent = Agent::start().await;
    let config = RegistryConfig { max_endpoints: 2, ..config(&agent) };
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

/// More than a transaction of Consul may have.
#[tokio::test]
async fn registration_displaces_very_many_announced_instances() {
    let agent = Agent::start().await;
    let server = Server::start(&config(&agent)).await;
    for number in 1..=120 {
        let id = Some(format!("announced-{number}").parse().unwrap());
        let announced = Registration { id, ..registration("api", 1) };
        let origin = CommandOrigin::broadcast([10, 0, 0, number].into());
        let outcomes = server.registry.apply(vec![Command::Register(announced)], origin).await;
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
    }
    let mut watch = server.watch().await;
    let mut web = registration("web", 1);
    web.addresses = (1..=32).map(|last| format!("10.0.0.{last}").parse().unwrap()).collect();
    let registered = server.register(&web).await.unwrap();
    assert_eq!(registered.displaced.len(), 120);
    for _ in 0..120 {
        assert_eq!(next(&mut watch).await.change.kind(), "deregistered");
    }
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert_eq!(server.registry.list(), [registered.endpoint]);
}

/// 64 metadata entries of the largest size: its value stands in its own key only.
#[tokio::test]
async fn largest_registrations_are_read_and_watched() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let (server, other) = (Server::start(&config).await, Server::start(&config).await);
    let mut watch = other.watch().await;
    let metadata: portolan_core::Metadata =
        (0..64).map(|number| (format!("key-{number}"), "x".repeat(4096))).collect();
    for port in 1..=10 {
        let metadata = metadata.clone();
        server.register(&Registration { metadata, ..registration("api", port) }).await.unwrap();
        assert_eq!(next(&mut watch).await.change.kind(), "registered");
    }
    assert_eq!(other.registry.list(), server.registry.list());
    assert_eq!(Server::start(&config).await.registry.list(), server.registry.list());
}

#[tokio::test]
async fn value_that_is_not_readable_is_ignored_and_can_be_overwritten() {
    let agent = Agent::start().await;
    let config = config(&agent);
    Server::start(&config).await.kill().await;
    let id = registration("api", 1).id();
    agent.consul(&["kv", "put", &format!("{}/v1/endpoints/{id}", config.consul.prefix), "{}"]);
    let server = Server::start(&config).await;
    assert_eq!(server.registry.list(), []);
    server.register(&registration("api", 1)).await.unwrap();
    assert_eq!(server.registry.list().len(), 1);
}
