//! Portolan's services in Consul, and Consul's in Portolan.

use std::net::UdpSocket;

use portolan_consul::ConsulInstance;

use super::*;

/// The instances of a service in Consul, whatever their health.
pub(super) async fn instances(agent: &Agent, name: &str) -> Vec<ConsulInstance> {
    agent.client().instances(name, "none").await.unwrap()
}

/// Waits until Consul has so many instances of a service that are not critical.
async fn in_consul(agent: &Agent, name: &str, count: usize) -> Vec<ConsulInstance> {
    let usable = |instance: &ConsulInstance| {
        let critical = Some(portolan_consul::ConsulCheckStatus::Critical);
        instance.checks.iter().all(|check| check.status != critical)
    };
    let found = async {
        loop {
            let mut found = instances(agent, name).await;
            found.retain(usable);
            if found.len() == count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never {count} of {name}"))
}

/// The number of A records of a name in Consul's DNS (RFC 1035).
fn resolve(agent: &Agent, name: &str) -> u16 {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(&query, ("127.0.0.1", agent.dns())).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).unwrap();
    assert!(length > 12 && answer[1] == 7, "{answer:?}");
    u16::from_be_bytes([answer[6], answer[7]])
}

#[tokio::test]
async fn instances_are_found_by_consul_with_their_health() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let server = Server::start(&config).await;
    let mut service = registration("api", 8080);
    service.version = "2".into();
    service.metadata.insert("zone", "a");
    let id = server.register(&service).await.unwrap().endpoint.id.clone();
    let found = in_consul(&agent, "api", 1).await.remove(0).service;
    assert_eq!((found.address.as_str(), found.port), ("127.0.0.1", 8080));
    assert_eq!(found.tags.unwrap(), ["portolan", "scope-default"]);
    let meta = found.meta.unwrap();
    assert_eq!((meta["portolan-id"].as_str(), meta["version"].as_str()), (id.as_str(), "2"));
    assert_eq!(meta["zone"], "a");
    assert_eq!(resolve(&agent, "api.service.consul"), 1);
    assert_eq!(resolve(&agent, "scope-default.api.service.consul"), 1);

    let report = HealthReport::new(HealthStatus::Critical, "refused");
    server.registry.update_health(&id, report).await.unwrap();
    in_consul(&agent, "api", 0).await;
    assert_eq!(resolve(&agent, "api.service.consul"), 0);
    let report = HealthReport::new(HealthStatus::Warning, "slow");
    server.registry.update_health(&id, report).await.unwrap();
    let checks = in_consul(&agent, "api", 1).await.remove(0).checks;
    assert!(checks.iter().any(|check| check.output == "health: warning: slow"), "{checks:?}");

    // What is Portolan's own does not come back from Consul.
    assert_eq!(server.registry.list().len(), 1);
    server.registry.deregister(&id).await.unwrap();
    in_consul(&agent, "api", 0).await;
    assert!(agent.client().agent_services().await.unwrap().is_empty());
}

#[tokio::test]
async fn services_of_a_killed_server_are_kept_by_another_one_and_removed_when_they_end() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let first = Server::start(&config).await;
    first.register(&brief("api", 1)).await.unwrap();
    let kept = first.register(&registration("kept", 2)).await.unwrap().endpoint;
    in_consul(&agent, "api", 1).await;
    in_consul(&agent, "kept", 1).await;
    first.kill().await;
    let second = Server::start(&config).await;
    in_consul(&agent, "api", 0).await;
    second.registry.heartbeat(&kept.id).await.unwrap();
    // What the agent has lost is registered again, and what nobody knows any more is removed.
    let name = format!("{}:{}", config.consul.prefix.replace('/', ":"), kept.id);
    agent.client().deregister_service(&name).await.unwrap();
    in_consul(&agent, "kept", 0).await;
    in_consul(&agent, "kept", 1).await;
    let stray = portolan_consul::ConsulRegistration {
        id: "stray".into(),
        name: "stray".into(),
        address: "127.0.0.1".into(),
        port: 1,
        tags: Vec::new(),
        meta: [("portolan-registry".to_owned(), config.consul.prefix.clone())].into(),
        ttl: PATIENCE,
        deregister_after: 2 * PATIENCE,
        status: portolan_consul::ConsulCheckStatus::Passing,
    };
    agent.client().register_service(&stray).await.unwrap();
    in_consul(&agent, "stray", 1).await;
    in_consul(&agent, "stray", 0).await;
    in_consul(&agent, "kept", 1).await;
}

#[tokio::test]
async fn instance_is_registered_at_the_agent_of_the_server_that_holds_its_lease() {
    let agents = Agent::cluster().await;
    let here = config(&agents[0]);
    let consul = ConsulConfig { url: agents[1].url(), ..here.consul.clone() };
    let there = RegistryConfig { consul, ..here.clone() };
    let (first, second) = (Server::start(&here).await, Server::start(&there).await);
    let id = first.register(&registration("api", 1)).await.unwrap().endpoint.id.clone();
    let nodes = async |node: &str| loop {
        let found = in_consul(&agents[2], "api", 1).await.remove(0);
        if found.node.node == node {
            break;
        }
    };
    timeout(PATIENCE, nodes("node-1")).await.unwrap();
    accepted(|| second.registry.heartbeat(&id)).await;
    timeout(PATIENCE, nodes("node-2")).await.unwrap();
    assert!(agents[0].client().agent_services().await.unwrap().is_empty());
    // A service of a third node is shown by both.
    agents[2].consul(&["services", "register", "-name", "db", "-id", "db-1", "-port", "5432"]);
    for server in [&first, &second] {
        let shows = || server.registry.get(&"consul:node-3:db-1".parse().unwrap()).is_some();
        eventually("db", shows).await;
    }
}

/// Any client of Consul can register anything.
#[tokio::test]
async fn services_that_portolan_cannot_show_do_not_hide_the_others() {
    let agent = Agent::start().await;
    let server = Server::start(&config(&agent)).await;
    let client = agent.client();
    let mut service = portolan_consul::ConsulRegistration {
        id: "..".into(),
        name: String::new(),
        address: "10.0.0.7".into(),
        port: 80,
        tags: Vec::new(),
        meta: std::collections::BTreeMap::new(),
        ttl: PATIENCE,
        deregister_after: 2 * PATIENCE,
        status: portolan_consul::ConsulCheckStatus::Passing,
    };
    for name in ["..", "a/../b", "two words", "ä", "x?y=z#", "db"] {
        (service.id, service.name) = (name.to_owned(), name.to_owned());
        client.register_service(&service).await.unwrap();
    }
    (service.port, service.id, service.name) = (0, "no-port".into(), "no-port".into());
    client.register_service(&service).await.unwrap();
    agent.consul(&["services", "register", "-name", "db", "-id", "db-2", "-port", "70000"]);
    let names = || server.registry.list().iter().map(|it| it.name.to_string()).collect::<Vec<_>>();
    eventually("db", || names() == ["db"]).await;
}

#[tokio::test]
async fn services_of_consul_are_shown_and_cannot_be_changed_here() {
    let agent = Agent::start().await;
    let config = config(&agent);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let mut watch = second.watch().await;
    agent.consul(&["services", "register", "-name", "db", "-id", "db-1", "-port", "5432"]);
    let event = next(&mut watch).await;
    let found = event.change.endpoint().unwrap();
    assert_eq!((event.change.kind(), found.source), ("registered", Source::Consul));
    assert_eq!(
        (found.id.as_str(), found.address()),
        ("consul:node-1:db-1", "127.0.0.1:5432".into())
    );
    assert_eq!(found.health, HealthStatus::Passing);
    eventually("both", || first.registry.list() == second.registry.list()).await;

    let mut over = registration("db", 1);
    over.id = Some(found.id.clone());
    let expected = RegistryError::RegisteredInConsul {
        id: found.id.clone(),
        service: "db-1".into(),
        node: "node-1".into(),
    };
    assert_eq!(first.register(&over).await.unwrap_err(), expected);
    assert_eq!(second.registry.heartbeat(&found.id).await.unwrap_err(), expected);
    assert_eq!(first.registry.deregister(&found.id).await.unwrap_err(), expected);

    // A check, its status, another address, and the end.
    let client = agent.client();
    let mut checked = portolan_consul::ConsulRegistration {
        id: "db-1".into(),
        name: "db".into(),
        address: "10.0.0.7".into(),
        port: 5433,
        tags: vec!["primary".into()],
        meta: std::collections::BTreeMap::new(),
        ttl: 2 * PATIENCE,
        deregister_after: 4 * PATIENCE,
        status: portolan_consul::ConsulCheckStatus::Passing,
    };
    client.register_service(&checked).await.unwrap();
    let event = next(&mut watch).await;
    let address = event.change.endpoint().unwrap().address();
    assert_eq!((event.change.kind(), address), ("updated", "10.0.0.7:5433".to_owned()));
    let critical = portolan_consul::ConsulCheckStatus::Critical;
    client.update_check("db-1", critical, "disk full").await.unwrap();
    let event = next(&mut watch).await;
    let reason = event.change.endpoint().unwrap().health_reason.clone();
    assert_eq!((event.change.kind(), reason), ("health", "Portolan: disk full".to_owned()));
    // Another server goes on with it.
    first.kill().await;
    checked.port = 5434;
    checked.status = critical;
    client.register_service(&checked).await.unwrap();
    let event = next(&mut watch).await;
    assert_eq!(event.change.endpoint().unwrap().port, 5434);
    client.deregister_service("db-1").await.unwrap();
    loop {
        let event = next(&mut watch).await;
        if event.change.kind() == "deregistered" {
            break;
        }
    }
    assert_eq!(second.registry.list(), []);
}
