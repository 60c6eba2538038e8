//! Several servers over one cluster.

use futures_util::future::join_all;
use portolan_core::HealthReport;
use portolan_core::HealthStatus;

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

/// Two hosts cannot register the same address without a trace: the newest instance of a host stays.
#[tokio::test]
async fn concurrent_registrations_at_one_place_leave_one_instance() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    for round in 0..10_u16 {
        let names: Vec<String> = (0..8).map(|number| format!("s{round}-{number}")).collect();
        let registrations = names.iter().enumerate().map(|(number, name)| {
            let server = if number % 2 == 0 { &first } else { &second };
            let port = 100 + round;
            async move { server.register(&registration(name, port)).await }
        });
        let results = join_all(registrations).await;
        let registered: Vec<_> = results.into_iter().map(Result::unwrap).collect();
        let displaced: usize = registered.iter().map(|it| it.displaced.len()).sum();
        assert_eq!(displaced, 7, "each but the last one is displaced once");
        for server in [&first, &second] {
            let at_place = || {
                let all = server.registry.list();
                all.iter().filter(|endpoint| endpoint.port == 100 + round).count()
            };
            eventually("one instance", || at_place() == 1).await;
        }
    }
}

/// Of many runs that register one id at the same time, exactly one owns it in the end, and only it may
/// send heartbeats.
#[tokio::test]
async fn concurrent_runs_of_one_id_leave_one_owner() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let (first, second) = (Server::start(&config).await, Server::start(&config).await);
    let run = |number: u64| Registration {
        incarnation: Some(Incarnation::new(number)),
        ..registration("api", 1)
    };
    let registrations = (1..=12).map(|number| {
        let server = if number % 2 == 0 { &first } else { &second };
        async move { server.register(&run(number)).await }
    });
    join_all(registrations).await;
    let id = registration("api", 1).id();
    let owner = first.registry.get(&id).unwrap().incarnation.unwrap();
    eventually("one owner", || {
        second.registry.get(&id).is_some_and(|endpoint| endpoint.incarnation == Some(owner))
    })
    .await;
    let mut accepted = Vec::new();
    for number in 1..=12 {
        let target =
            crate::CommandTarget { id: id.clone(), incarnation: Some(Incarnation::new(number)) };
        if second.registry.heartbeat(target).await.is_ok() {
            accepted.push(Incarnation::new(number));
        }
    }
    assert_eq!(accepted, [owner]);
}

/// One command of many, chosen by a number: on few ids, at few addresses, from few hosts.
fn command(number: u32) -> (Command, CommandOrigin) {
    let pick = |shift: u32, of: u32| number.wrapping_mul(2_654_435_761).rotate_right(shift) % of;
    let names = ["a", "b", "c", "d"];
    let mut service = registration(names[pick(3, 4) as usize], 1 + pick(7, 3) as u16);
    service.id = Some(format!("id-{}", pick(11, 6)).parse().unwrap());
    service.version = pick(13, 3).to_string();
    service.replace = pick(17, 4) == 0;
    service.incarnation = (pick(19, 3) > 0).then(|| Incarnation::new(pick(23, 5).into()));
    let host = std::net::IpAddr::from([127, 0, 0, 1 + pick(27, 2) as u8]);
    let target = service.id().into();
    let status = [HealthStatus::Passing, HealthStatus::Critical][pick(29, 2) as usize];
    let command = match pick(5, 8) {
        0 => Command::Deregister(target),
        1 => Command::Heartbeat(target),
        2 => Command::Health(target, HealthReport::new(status, "checked")),
        _ => Command::Register(service),
    };
    (command, CommandOrigin::api(host))
}

#[tokio::test]
async fn all_servers_show_the_same_history_of_concurrent_commands() {
    let cluster = Cluster::start(1).await;
    let config = config(&cluster);
    let servers =
        [Server::start(&config).await, Server::start(&config).await, Server::start(&config).await];
    let mut watches = Vec::new();
    for server in &servers {
        watches.push(server.watch().await);
    }
    let clients = servers.iter().enumerate().flat_map(|(number, server)| {
        (0..4).map(move |client| async move {
            for step in 0..25 {
                let (command, origin) = command((number as u32 * 4 + client) * 1000 + step);
                for outcome in server.registry.apply(vec![command], origin).await {
                    let unavailable = matches!(outcome, Err(RegistryError::Unavailable { .. }));
                    assert!(!unavailable, "{outcome:?}");
                }
            }
        })
    });
    join_all(clients).await;
    let end = servers[0].register(&registration("end", 999)).await.unwrap().endpoint.revision;
    let mut histories = Vec::new();
    for watch in &mut watches {
        let mut history: Vec<(portolan_core::Revision, &str, ServiceId)> = Vec::new();
        while history.last().is_none_or(|(revision, ..)| *revision < end) {
            let event = next(watch).await;
            let endpoint = event.change.endpoint().unwrap();
            history.push((event.revision, event.change.kind(), endpoint.id.clone()));
        }
        assert!(history.is_sorted_by(|a, b| a.0 < b.0), "{history:?}");
        histories.push(history);
    }
    assert!(histories[0].len() > 50, "{}", histories[0].len());
    assert!(histories.iter().all(|history| *history == histories[0]), "{histories:#?}");
    let fresh = Server::start(&config).await.registry.list();
    let contents = |endpoints: &[Arc<portolan_core::ServiceEndpoint>]| -> Vec<_> {
        endpoints.iter().map(|it| (it.id.clone(), it.revision, it.version.clone())).collect()
    };
    for server in &servers {
        assert_eq!(contents(&server.registry.list()), contents(&fresh));
    }
    // The history leads to this state.
    let mut known = std::collections::BTreeMap::new();
    for (revision, kind, id) in &histories[0] {
        let is_known = match *kind {
            "registered" => known.insert(id.clone(), *revision).is_none(),
            "deregistered" => known.remove(id).is_some(),
            _ => known.insert(id.clone(), *revision).is_some(),
        };
        assert!(is_known, "{kind} of {id} at {revision} does not follow: {:?}", histories[0]);
    }
    let revisions: Vec<_> = contents(&fresh).into_iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(std::collections::BTreeMap::from_iter(revisions), known);
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
    eventually("two members", || owned(&first) > 0 && owned(&second) > 0).await;
    assert_eq!(owned(&first) + owned(&second), ids.len());
    let mut watch = second.watch().await;
    first.register(&brief("api", 1)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    first.kill().await;
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    assert_eq!(owned(&second), ids.len());
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
