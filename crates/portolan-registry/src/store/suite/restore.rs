//! Instances that are imported from another store.

use jiff::{SignedDuration, Timestamp};
use portolan_core::{HealthStatus, Incarnation, Registration, ServiceEndpoint, Ttl};

use super::{Case, PROMPTLY, SETTLE, StoreParts, from, registration};
use crate::store::StoreRecord;
use crate::store::owner::Owner;
use crate::{Command, CommandOutcome, CommandTarget, RegistryError};

const HERE: &str = "10.0.0.1";

pub(super) async fn run(open: &impl Fn() -> StoreParts) {
    restored_instance_keeps_its_age_health_and_owner(Case::open(open).await).await;
    restored_instance_never_replaces_a_known_one(Case::open(open).await).await;
    restored_instance_has_its_full_ttl(Case::open(open).await).await;
    invalid_record_is_rejected(Case::open(open).await).await;
}

/// An instance of this run, whose owner has fenced the run before it.
fn record(name: &str, run: u64) -> StoreRecord {
    let registration = Registration {
        host: HERE.parse().unwrap(),
        incarnation: Some(Incarnation::new(run)),
        ttl: Some(Ttl::new(Ttl::MIN).unwrap()),
        ..registration(name, 80)
    };
    let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
    let mut owner = Owner::new(&from(HERE));
    owner.fenced.push((registration.id(), Incarnation::new(run - 1)));
    let mut endpoint = registration.into_endpoint(Ttl::DEFAULT, hour_ago);
    (endpoint.health, endpoint.health_reason) = (HealthStatus::Warning, "slow".to_owned());
    StoreRecord { endpoint, owner }
}

impl Case {
    async fn restore(&mut self, record: &StoreRecord) -> Result<CommandOutcome, RegistryError> {
        self.apply(Command::Restore(Box::new(record.clone())), record.origin()).await
    }
}

async fn restored_instance_keeps_its_age_health_and_owner(mut case: Case) {
    let record = record("a", 2);
    let outcome = case.restore(&record).await.unwrap();
    let CommandOutcome::Registered(restored) = outcome else { panic!("{outcome:?}") };
    assert!(restored.created);
    let ServiceEndpoint { last_heartbeat, revision, .. } = *restored.endpoint;
    assert!(last_heartbeat > record.endpoint.last_heartbeat);
    let expected = ServiceEndpoint { last_heartbeat, revision, ..record.endpoint.clone() };
    assert_eq!(*restored.endpoint, expected);
    assert_eq!(case.kinds(1).await, ["registered"]);

    let target = |run| CommandTarget {
        id: record.endpoint.id.clone(),
        incarnation: Some(Incarnation::new(run)),
    };
    case.apply(Command::Heartbeat(target(2)), from(HERE)).await.unwrap();
    let late = Registration::from(ServiceEndpoint {
        incarnation: Some(Incarnation::new(1)),
        ..record.endpoint.clone()
    });
    let late = case.apply(Command::Register(late), from(HERE)).await.unwrap_err();
    assert!(matches!(late, RegistryError::AnotherIncarnation { .. }), "{late}");
}

async fn restored_instance_never_replaces_a_known_one(mut case: Case) {
    case.restore(&record("a", 2)).await.unwrap();
    for other in [record("a", 2), record("a", 3), record("b", 4)] {
        let error = case.restore(&other).await.unwrap_err();
        let (id, known) = (other.endpoint.id, record("a", 2).endpoint.id);
        assert_eq!(error, RegistryError::Exists { id, other: known });
    }
    assert_eq!(case.kinds(1).await, ["registered"]);
    case.quiet(SETTLE).await;
}

async fn restored_instance_has_its_full_ttl(mut case: Case) {
    case.restore(&record("a", 2)).await.unwrap();
    case.changes(1, PROMPTLY).await;
    case.quiet(Ttl::MIN - SETTLE / 5).await;
    assert_eq!(case.kinds(1).await, ["expired"]);
}

async fn invalid_record_is_rejected(mut case: Case) {
    let mut record = record("a", 2);
    record.endpoint.port = 0;
    let error = case.restore(&record).await.unwrap_err();
    assert!(matches!(error, RegistryError::Invalid(_)), "{error}");
    case.quiet(SETTLE).await;
}
