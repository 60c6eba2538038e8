//! What every store must do over which several servers work: commands that they commit at the same time. The tests of
//! such a store call [`run`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portolan_core::{
    HealthReport, HealthStatus, Incarnation, Registration, Revision, ServiceEndpoint, ServiceId,
    Ttl,
};

use super::harness::{Server, eventually, next};
use crate::store::suite::registration;
use crate::{Command, CommandOrigin, CommandTarget, RegistryConfig, RegistryError};

pub(crate) mod mass_expiry;
pub(crate) mod moves;

/// Runs every part of the suite; `config` returns the settings of a registry that is empty.
pub(crate) async fn run(config: impl Fn() -> RegistryConfig) {
    concurrent_registrations_at_one_place_leave_one_instance(&config()).await;
    concurrent_runs_of_one_id_leave_one_owner(&config()).await;
    late_heartbeat_is_known_to_the_server_that_waits_for_it(&config()).await;
    all_servers_show_the_same_history_of_concurrent_commands(&config()).await;
}

/// Two hosts cannot register the same address without a trace: the newest instance of a host stays.
async fn concurrent_registrations_at_one_place_leave_one_instance(config: &RegistryConfig) {
    let (first, second) = (Server::start(config).await, Server::start(config).await);
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
async fn concurrent_runs_of_one_id_leave_one_owner(config: &RegistryConfig) {
    let (first, second) = (Server::start(config).await, Server::start(config).await);
    let run = |number: u64| Registration {
        incarnation: Some(Incarnation::new(number)),
        ..registration("api", 1)
    };
    let registrations = (1..=12).map(|number| {
        let server = if number % 2 == 0 { &first } else { &second };
        async move { server.register(&run(number)).await }
    });
    let results = join_all(registrations).await;
    let endpoints = results.into_iter().flatten().map(|registered| registered.endpoint);
    let newest = endpoints.max_by_key(|endpoint| endpoint.revision).unwrap();
    let (id, owner) = (newest.id.clone(), newest.incarnation.unwrap());
    for server in [&first, &second] {
        let shows = || server.registry.get(&id).map(|endpoint| endpoint.revision);
        eventually("the newest one", || shows() == Some(newest.revision)).await;
    }
    let mut accepted = Vec::new();
    for number in 1..=12 {
        let target = CommandTarget { id: id.clone(), incarnation: Some(Incarnation::new(number)) };
        if second.registry.heartbeat(target).await.is_ok() {
            accepted.push(Incarnation::new(number));
        }
    }
    assert_eq!(accepted, [owner]);
}

async fn late_heartbeat_is_known_to_the_server_that_waits_for_it(config: &RegistryConfig) {
    let (first, second) = (Server::start(config).await, Server::start(config).await);
    let ttl = Some(Ttl::new(Duration::from_secs(8)).unwrap());
    let service = Registration { ttl, ..registration("late", 1) };
    let id = service.id();
    first.register(&service).await.unwrap();
    eventually("registered", || second.registry.get(&id).is_some()).await;
    eventually("late", || first.registry.is_heartbeat_late(&id)).await;
    assert!(!second.registry.is_heartbeat_late(&id));
    first.registry.heartbeat(id.clone()).await.unwrap();
    assert!(!first.registry.is_heartbeat_late(&id));
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

async fn all_servers_show_the_same_history_of_concurrent_commands(config: &RegistryConfig) {
    let servers =
        [Server::start(config).await, Server::start(config).await, Server::start(config).await];
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
        let mut history: Vec<(Revision, &str, ServiceId)> = Vec::new();
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
    let fresh = Server::start(config).await.registry.list();
    let contents = |endpoints: &[Arc<ServiceEndpoint>]| -> Vec<_> {
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
