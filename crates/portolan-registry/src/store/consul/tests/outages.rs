//! Consul is killed, stopped or restored.

use super::*;

#[tokio::test]
async fn server_without_consul_goes_on_reading_and_reconnects_with_all_leases() {
    let mut agent = Agent::start().await;
    let config = config(&agent);
    let server = Server::start(&config).await;
    let mut watch = server.watch().await;
    let service = brief("api", 1);
    let registered = server.register(&service).await.unwrap().endpoint;
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    agent.kill();
    server.wait_for(RegistryStatus::Stale).await;
    assert_eq!(server.registry.list(), std::slice::from_ref(&registered));
    let error = server.register(&registration("api", 2)).await.unwrap_err();
    assert!(is_unavailable(&error), "{error}");
    // Longer than the TTL, and than heartbeats are answered without Consul.
    let refused = async {
        while server.registry.heartbeat(&registered.id).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("heartbeats are refused");
    agent.restart().await;
    server.wait_for(RegistryStatus::Ready).await;
    accepted(|| server.registry.heartbeat(&registered.id)).await;
    server.register(&registration("api", 2)).await.unwrap();
    // No event is lost or repeated, and the lease ends only now.
    let events = [next(&mut watch).await, next(&mut watch).await];
    assert_eq!(events.each_ref().map(|event| event.change.kind()), ["registered", "expired"]);
    assert!(events[0].revision > registered.revision);
}

#[tokio::test]
async fn consul_that_hangs_is_noticed() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let server = Server::start(&config).await;
    // Longer than Consul hangs before leases are kept, and shorter than it takes to notice.
    let ttl = Some(Ttl::new(3 * Ttl::MIN).unwrap());
    let service = Registration { ttl, ..registration("api", 1) };
    let id = server.register(&service).await.unwrap().endpoint.id.clone();
    agent.signal("STOP");
    server.wait_for(RegistryStatus::Stale).await;
    let error = server.register(&registration("api", 2)).await.unwrap_err().to_string();
    agent.signal("CONT");
    assert!(error.contains("did not answer within"), "{error}");
    server.wait_for(RegistryStatus::Ready).await;
    accepted(|| server.registry.heartbeat(&id)).await;
}

#[tokio::test]
async fn death_of_the_leader_is_survived_by_the_servers_at_the_other_agents() {
    let mut agents = Agent::cluster().await;
    let leader = agents.iter().position(Agent::is_leader).unwrap();
    let plain = config(&agents[leader]);
    let at = |agent: &Agent| {
        let consul = ConsulConfig { url: agent.url(), ..plain.consul.clone() };
        RegistryConfig { consul, ..plain.clone() }
    };
    let others: Vec<_> = (0..3).filter(|number| *number != leader).collect();
    let (first, second, third) = (
        Server::start(&plain).await,
        Server::start(&at(&agents[others[0]])).await,
        Server::start(&at(&agents[others[1]])).await,
    );
    let ttl = Some(Ttl::new(3 * Ttl::MIN).unwrap());
    let service = Registration { ttl, ..registration("api", 1) };
    let kept = first.register(&service).await.unwrap().endpoint;
    let shows = || [&first, &second, &third].map(|server| server.registry.list().len());
    eventually("all", || shows() == [1, 1, 1]).await;
    let mut watch = third.watch().await;
    agents[leader].kill();
    // Its heartbeats go to another server, which is not available during the election.
    let web = registration("web", 2);
    accepted(|| second.register(&web)).await;
    accepted(|| second.registry.heartbeat(&kept.id)).await;
    let event = next(&mut watch).await;
    assert_eq!(event.change.endpoint().unwrap().name.as_str(), "web");
    first.wait_for(RegistryStatus::Stale).await;
    assert_eq!(first.registry.list().len(), 1, "reads go on");
    agents[leader].restart().await;
    first.wait_for(RegistryStatus::Ready).await;
    eventually("the same", || first.registry.list().iter().any(|it| it.name == "web")).await;
    let event = next(&mut watch).await;
    assert_eq!((event.change.kind(), &event.change.endpoint().unwrap().id), ("expired", &kept.id));
}

#[tokio::test]
async fn restored_state_replaces_what_is_known_by_a_snapshot() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let server = Server::start(&config).await;
    let kept = server.register(&registration("api", 1)).await.unwrap().endpoint;
    let file = agent.directory().join("backup").display().to_string();
    agent.consul(&["snapshot", "save", &file]);
    server.register(&registration("api", 2)).await.unwrap();
    let mut watch = server.watch().await;
    agent.consul(&["snapshot", "restore", &file]);
    assert_eq!(next(&mut watch).await.change.kind(), "snapshot");
    assert_eq!(server.registry.list(), [kept]);
    let third = registration("api", 3);
    accepted(|| server.register(&third)).await;
}

#[tokio::test]
async fn server_that_lost_its_session_joins_again_and_loses_no_instance() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let ttl = Some(Ttl::new(4 * Ttl::MIN).unwrap());
    let service = Registration { ttl, ..registration("api", 1) };
    let id = first.register(&service).await.unwrap().endpoint.id.clone();
    eventually("both", || second.registry.list().len() == 1).await;
    let mut watch = second.watch().await;
    let client = agent.client();
    let servers = format!("{}/v1/feed/servers/", config.consul.prefix);
    for _ in 0..3 {
        // As after a pause: the sessions of both servers end, and the others take over their leases.
        for entry in client.list(&servers, 0, PATIENCE).await.unwrap().entries {
            client.end_session(&entry.session.unwrap()).await.unwrap();
        }
        accepted(|| first.registry.heartbeat(&id)).await;
        let quiet = timeout(2 * Ttl::MIN, futures_util::StreamExt::next(&mut watch)).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
}
