//! Owners of registrations, and addresses that are used again.

use portolan_core::{
    Change, HealthReport, HealthStatus, Incarnation, Registration, ServiceId, Source,
};

use super::{Case, PROMPTLY, StoreParts, broadcast, from, registration};
use crate::{Command, CommandOrigin, CommandOutcome, CommandTarget, Registered, RegistryError};

const HERE: &str = "10.0.0.1";
const THERE: &str = "10.0.0.2";

pub(super) async fn run(open: &impl Fn() -> StoreParts) {
    command_of_another_incarnation_changes_nothing(Case::open(open).await).await;
    restart_on_the_same_host_fences_the_former_run(Case::open(open).await).await;
    other_host_cannot_take_an_id_while_its_owner_is_alive(Case::open(open).await).await;
    owner_that_moves_keeps_its_registration(Case::open(open).await).await;
    same_registration_from_two_hosts_is_a_renewal(Case::open(open).await).await;
    hosts_behind_a_proxy_are_told_apart_by_their_addresses(Case::open(open).await).await;
    newer_instance_displaces_the_older_one_at_its_address(Case::open(open).await).await;
    owner_that_wakes_up_after_its_address_was_reused_is_rejected(Case::open(open).await).await;
    address_of_another_host_is_left_alone(Case::open(open).await).await;
    announcement_never_displaces_a_registration(Case::open(open).await).await;
    one_run_registers_two_services_at_one_address(Case::open(open).await).await;
    initial_health_is_that_of_a_new_instance_only(Case::open(open).await).await;
    forged_announcement_does_not_fence_a_registrant(Case::open(open).await).await;
}

/// A registration of a run at this host, with an id of its own.
fn shared(host: &str, run: Option<u64>) -> Registration {
    let id = Some("shared-1".parse().unwrap());
    Registration { id, ..named("shared", host, run) }
}

fn named(name: &str, host: &str, run: Option<u64>) -> Registration {
    let incarnation = run.map(Incarnation::new);
    Registration { host: host.parse().unwrap(), incarnation, ..registration(name, 80) }
}

fn target(id: &ServiceId, run: u64) -> CommandTarget {
    CommandTarget { id: id.clone(), incarnation: Some(Incarnation::new(run)) }
}

/// The commands of an owner, besides its registration.
fn commands(target: &CommandTarget) -> [Command; 3] {
    let report = HealthReport::new(HealthStatus::Critical, "late");
    [
        Command::Heartbeat(target.clone()),
        Command::Health(target.clone(), report),
        Command::Deregister(target.clone()),
    ]
}

impl Case {
    async fn put(
        &mut self,
        registration: &Registration,
        origin: CommandOrigin,
    ) -> Result<Registered, RegistryError> {
        match self.apply(Command::Register(registration.clone()), origin).await? {
            CommandOutcome::Registered(registered) => Ok(registered),
            other => panic!("{other:?}"),
        }
    }
}

async fn command_of_another_incarnation_changes_nothing(mut case: Case) {
    let id = case.put(&shared(HERE, Some(1)), from(HERE)).await.unwrap().endpoint.id.clone();
    assert_eq!(case.kinds(1).await, ["registered"]);
    let (incarnation, owner) = (Incarnation::new(2), Some(Incarnation::new(1)));
    for command in commands(&target(&id, 2)) {
        let error = case.apply(command, from(HERE)).await.unwrap_err();
        let id = id.clone();
        assert_eq!(error, RegistryError::AnotherIncarnation { id, incarnation, owner });
    }
    case.quiet(super::SETTLE).await;
    assert_eq!(case.renewed, []);
    // Without an incarnation, and with its own, they take effect.
    case.apply(Command::Heartbeat(id.clone().into()), from(HERE)).await.unwrap();
    for command in commands(&target(&id, 1)) {
        case.apply(command, from(HERE)).await.unwrap();
    }
}

async fn restart_on_the_same_host_fences_the_former_run(mut case: Case) {
    let id = case.put(&shared(HERE, Some(1)), from(HERE)).await.unwrap().endpoint.id.clone();
    let restarted = case.put(&shared(HERE, Some(2)), from(HERE)).await.unwrap();
    assert!(!restarted.created && restarted.changed);
    assert_eq!(restarted.endpoint.incarnation, Some(Incarnation::new(2)));
    // The former run wakes up: it cannot register again either.
    let mut late = commands(&target(&id, 1)).to_vec();
    late.push(Command::Register(shared(HERE, Some(1))));
    late.push(Command::Register(Registration { replace: true, ..shared(HERE, Some(1)) }));
    for command in late {
        let error = case.apply(command, from(HERE)).await.unwrap_err();
        assert!(matches!(error, RegistryError::AnotherIncarnation { .. }), "{error}");
    }
    case.apply(Command::Heartbeat(target(&id, 2)), from(HERE)).await.unwrap();
    assert_eq!(case.kinds(2).await, ["registered", "updated"]);
}

async fn other_host_cannot_take_an_id_while_its_owner_is_alive(mut case: Case) {
    for run in [None, Some(1)] {
        let first = shared(HERE, run);
        let second = Registration { host: THERE.parse().unwrap(), ..first.clone() };
        let second = Registration { incarnation: run.map(|_| Incarnation::new(2)), ..second };
        case.put(&first, from(HERE)).await.unwrap();
        let error = case.put(&second, from(THERE)).await.unwrap_err();
        let expected = RegistryError::OwnedByAnother {
            id: first.id(),
            owner: HERE.parse().ok(),
            owner_address: "10.0.0.1:80".into(),
            peer: THERE.parse().ok(),
            address: "10.0.0.2:80".into(),
        };
        assert_eq!(error, expected);
        case.apply(Command::Heartbeat(first.id().into()), from(HERE)).await.unwrap();
        assert_eq!(case.kinds(1).await, ["registered"]);

        let replacing = Registration { replace: true, ..second.clone() };
        let replaced = case.put(&replacing, from(THERE)).await.unwrap();
        assert_eq!(replaced.endpoint.host, second.host);
        let back = case.put(&first, from(HERE)).await;
        assert!(back.is_err(), "the owner is the other host now: {back:?}");
        assert_eq!(case.kinds(1).await, ["updated"]);
        // After the owner is gone, the id is free.
        case.apply(Command::Deregister(first.id().into()), from(THERE)).await.unwrap();
        case.put(&first, from(HERE)).await.unwrap();
        assert_eq!(case.kinds(2).await, ["deregistered", "registered"]);
        case.apply(Command::Deregister(first.id().into()), from(HERE)).await.unwrap();
        assert_eq!(case.kinds(1).await, ["deregistered"]);
    }
}

async fn owner_that_moves_keeps_its_registration(mut case: Case) {
    case.put(&shared(HERE, Some(1)), from(HERE)).await.unwrap();
    let moved = case.put(&shared(THERE, Some(1)), from(THERE)).await.unwrap();
    assert_eq!(moved.endpoint.host, THERE.parse().unwrap());
    // The host that it left is another one now.
    let error = case.put(&shared(HERE, Some(2)), from(HERE)).await.unwrap_err();
    assert!(matches!(error, RegistryError::OwnedByAnother { .. }), "{error}");
    // So it is if only the route has changed, and not what is registered.
    case.put(&shared(THERE, Some(1)), from("10.0.0.3")).await.unwrap();
    let error = case.put(&shared(THERE, Some(2)), from(THERE)).await.unwrap_err();
    assert!(matches!(error, RegistryError::OwnedByAnother { .. }), "{error}");
}

async fn same_registration_from_two_hosts_is_a_renewal(mut case: Case) {
    case.put(&shared(HERE, None), from(HERE)).await.unwrap();
    let renewed = case.put(&shared(HERE, None), from(THERE)).await.unwrap();
    assert!(!renewed.created && !renewed.changed);
    assert_eq!(case.kinds(1).await, ["registered"]);
}

async fn hosts_behind_a_proxy_are_told_apart_by_their_addresses(mut case: Case) {
    let proxied = CommandOrigin::api(None);
    case.put(&shared(HERE, Some(1)), proxied.clone()).await.unwrap();
    case.put(&shared(HERE, Some(2)), proxied.clone()).await.unwrap();
    for origin in [proxied, from(HERE)] {
        let error = case.put(&shared(THERE, Some(3)), origin).await.unwrap_err();
        assert!(matches!(error, RegistryError::OwnedByAnother { .. }), "{error}");
    }
}

async fn newer_instance_displaces_the_older_one_at_its_address(mut case: Case) {
    let old = case.put(&named("old", HERE, None), from(HERE)).await.unwrap().endpoint;
    let announced = named("announced", HERE, None);
    let other = Registration { port: 81, ..named("other", HERE, None) };
    case.put(&other, from(HERE)).await.unwrap();
    assert_eq!(case.kinds(2).await, ["registered", "registered"]);
    let mut new = named("new", "10.9.9.9", None);
    new.addresses = vec![HERE.parse().unwrap()];
    let new = case.put(&new, from(HERE)).await.unwrap();
    let [(gone, revision)] = &new.displaced[..] else { panic!("{new:?}") };
    assert_eq!(gone, &old);
    assert!(*revision < new.endpoint.revision);
    let changes = case.changes(2, PROMPTLY).await;
    assert_eq!(changes[0], Change::Deregistered { endpoint: old.clone() });
    assert_eq!(changes[1], Change::Registered { endpoint: new.endpoint });
    let error = case.apply(Command::Heartbeat((&old.id).into()), from(HERE)).await.unwrap_err();
    assert_eq!(error, RegistryError::Unknown { id: old.id.clone() });

    // What was learned by broadcast goes, from wherever it was announced.
    case.apply(Command::Deregister(new_id("new", "10.9.9.9")), from(HERE)).await.unwrap();
    case.put(&announced, broadcast()).await.unwrap();
    let newest = case.put(&named("newest", HERE, None), from(HERE)).await.unwrap();
    assert_eq!(newest.displaced[0].0.name.as_str(), "announced");
}

fn new_id(name: &str, host: &str) -> CommandTarget {
    named(name, host, None).id().into()
}

async fn one_run_registers_two_services_at_one_address(mut case: Case) {
    case.put(&named("web", HERE, Some(1)), from(HERE)).await.unwrap();
    let other = case.put(&named("web-canary", HERE, Some(1)), from(HERE)).await.unwrap();
    assert_eq!(other.displaced, []);
    assert_eq!(case.kinds(2).await, ["registered", "registered"]);
    // The same service under another id has moved, or has been restarted.
    let id = Some("web-2".parse().unwrap());
    let again =
        case.put(&Registration { id, ..named("web", HERE, Some(1)) }, from(HERE)).await.unwrap();
    let displaced: Vec<_> = again.displaced.iter().map(|(gone, _)| gone.name.as_str()).collect();
    assert_eq!(displaced, ["web"]);
}

async fn initial_health_is_that_of_a_new_instance_only(mut case: Case) {
    let passing =
        Registration { initial_health: Some(HealthStatus::Passing), ..named("web", HERE, Some(1)) };
    let new = case.put(&passing, from(HERE)).await.unwrap().endpoint;
    assert_eq!(new.health, HealthStatus::Passing);
    let report = HealthReport::new(HealthStatus::Critical, "not ready");
    case.apply(Command::Health(target(&new.id, 1), report), from(HERE)).await.unwrap();
    let again = case.put(&passing, from(HERE)).await.unwrap();
    assert_eq!((again.changed, again.endpoint.health), (false, HealthStatus::Critical));
    assert_eq!(case.kinds(2).await, ["registered", "health"]);
}

async fn owner_that_wakes_up_after_its_address_was_reused_is_rejected(mut case: Case) {
    let old = named("old", HERE, Some(1));
    case.put(&old, from(HERE)).await.unwrap();
    let new = case.put(&named("new", HERE, Some(2)), from(HERE)).await.unwrap().endpoint;
    let newer = case.put(&named("newer", HERE, Some(3)), from(HERE)).await.unwrap().endpoint;
    assert_eq!(case.kinds(5).await.last(), Some(&"registered"));
    for (id, run) in [(old.id(), 1), (new.id.clone(), 2)] {
        let mut late = commands(&target(&id, run)).to_vec();
        let name = if run == 1 { "old" } else { "new" };
        late.push(Command::Register(named(name, HERE, Some(run))));
        for command in late {
            let error = case.apply(command, from(HERE)).await.unwrap_err();
            let expected = RegistryError::Displaced {
                id: id.clone(),
                incarnation: Incarnation::new(run),
                successor: newer.id.clone(),
                address: "10.0.0.1:80".into(),
                owner: Some(Incarnation::new(3)),
            };
            assert_eq!(error, expected);
        }
    }
    case.quiet(super::SETTLE).await;
    // A new run of the old service is the newest at the address.
    let again = case.put(&named("old", HERE, Some(4)), from(HERE)).await.unwrap();
    assert_eq!(again.displaced[0].0.id, newer.id);
}

async fn address_of_another_host_is_left_alone(mut case: Case) {
    case.put(&named("vip-a", "10.0.0.200", Some(1)), from(HERE)).await.unwrap();
    let other = case.put(&named("vip-b", "10.0.0.200", Some(2)), from(THERE)).await.unwrap();
    assert_eq!(other.displaced, []);
    let udp = Registration { protocol: "udp".parse().unwrap(), ..named("dns", HERE, None) };
    case.put(&named("web", HERE, None), from(HERE)).await.unwrap();
    assert_eq!(case.put(&udp, from(HERE)).await.unwrap().displaced, []);
}

async fn announcement_never_displaces_a_registration(mut case: Case) {
    let registered = case.put(&named("web", HERE, None), from(HERE)).await.unwrap().endpoint;
    let error = case.put(&named("forged", HERE, None), broadcast()).await.unwrap_err();
    assert_eq!(error, RegistryError::RegisteredByApi { id: registered.id.clone() });
    assert_eq!(case.kinds(1).await, ["registered"]);
}

async fn forged_announcement_does_not_fence_a_registrant(mut case: Case) {
    let (own, id) = (shared(HERE, Some(1)), shared(HERE, None).id());
    case.put(&own, broadcast()).await.unwrap();
    case.put(&shared(THERE, Some(2)), broadcast()).await.unwrap();
    // To the owner the instance is unknown, so that it registers.
    for command in commands(&target(&id, 1)) {
        let error = case.apply(command, from(HERE)).await.unwrap_err();
        assert_eq!(error, RegistryError::Unknown { id: id.clone() });
    }
    let registered = case.put(&own, from(HERE)).await.unwrap();
    assert_eq!(registered.endpoint.source, Source::Registered);
    case.apply(Command::Heartbeat(target(&id, 1)), from(HERE)).await.unwrap();
}
