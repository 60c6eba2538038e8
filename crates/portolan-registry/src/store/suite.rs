//! What every store must do. A store runs it with [`run`], over a fresh store for each part.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::{
    Change, HealthReport, HealthStatus, Host, Registration, Revision, ServiceEndpoint, Ttl,
};
use tokio::time::timeout;

use super::{Committed, Store};
use crate::{Command, CommandOutcome, Registered, RegistryError, Source};

/// How long a store may take for anything but the end of a lease.
const PROMPTLY: Duration = Duration::from_secs(5);

/// Runs every part of the suite; `open` makes an empty store with the default TTL.
pub(crate) async fn run<S: Store>(open: impl AsyncFn() -> S) {
    the_first_thing_is_everything_there_is(open().await).await;
    changes_come_in_order_with_growing_revisions(open().await).await;
    the_same_words_again_are_a_sign_of_life(open().await).await;
    an_update_keeps_age_and_health(open().await).await;
    another_place_has_its_health_to_show_anew(open().await).await;
    another_name_moves_the_instance(open().await).await;
    what_is_not_known_is_said_to_be_unknown(open().await).await;
    a_status_is_a_change_and_a_reason_is_not(open().await).await;
    a_lease_ends_within_a_second_of_its_ttl(open().await).await;
    a_heartbeat_is_a_full_ttl(open().await).await;
    a_word_on_health_is_no_sign_of_life(open().await).await;
    hearsay_never_touches_what_registered(open().await).await;
    a_registration_takes_over_from_hearsay(open().await).await;
    an_invalid_registration_changes_nothing(open().await).await;
}

pub(crate) fn registration(name: &str, port: u16) -> Registration {
    Registration::new(name.parse().unwrap(), Host::loopback(), port)
}

/// A store, and what it has said so far.
struct Case<S> {
    store: S,
    changes: Vec<(Revision, Change)>,
    renewed: Vec<Arc<ServiceEndpoint>>,
}

impl<S: Store> Case<S> {
    /// Reads the reset that every store begins with.
    async fn begin(mut store: S) -> Self {
        let first = timeout(PROMPTLY, store.next()).await.unwrap();
        assert!(matches!(first[0], Committed::Reset { .. }), "{first:?}");
        let mut case = Self { store, changes: Vec::new(), renewed: Vec::new() };
        case.take(first);
        case
    }

    async fn apply(
        &mut self,
        command: Command,
        source: Source,
    ) -> Result<CommandOutcome, RegistryError> {
        let mut outcomes = self.store.apply(vec![command], source).await;
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    async fn api(&mut self, command: Command) -> CommandOutcome {
        self.apply(command, Source::Api).await.unwrap()
    }

    async fn register(&mut self, registration: &Registration) -> Registered {
        match self.api(Command::Register(registration.clone())).await {
            CommandOutcome::Registered(registered) => registered,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the store has told so many changes since the last call.
    async fn changes(&mut self, count: usize, within: Duration) -> Vec<Change> {
        while self.changes.len() < count {
            let committed = timeout(within, self.store.next()).await;
            let committed =
                committed.unwrap_or_else(|_| panic!("{} of {count}", self.changes.len()));
            self.take(committed);
        }
        let revisions: Vec<_> = self.changes.iter().map(|(revision, _)| *revision).collect();
        assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
        self.changes.drain(..).map(|(_, change)| change).collect()
    }

    /// The kinds of change since the last call.
    async fn kinds(&mut self, count: usize) -> Vec<&'static str> {
        self.changes(count, PROMPTLY).await.iter().map(Change::kind).collect()
    }

    /// Asserts that nothing changes for so long.
    async fn quiet(&mut self, span: Duration) {
        let deadline = tokio::time::Instant::now() + span;
        while let Ok(committed) = tokio::time::timeout_at(deadline, self.store.next()).await {
            self.take(committed);
        }
        assert_eq!(self.changes, []);
    }

    fn take(&mut self, committed: Vec<Committed>) {
        for committed in committed {
            match committed {
                Committed::Reset { endpoints, .. } => assert_eq!(endpoints, []),
                Committed::Changed(event) => {
                    self.changes.push((event.revision, event.change.clone()));
                }
                Committed::Renewed(endpoint) => self.renewed.push(endpoint),
            }
        }
    }
}

async fn the_first_thing_is_everything_there_is(store: impl Store) {
    Case::begin(store).await.quiet(Duration::from_millis(1)).await;
}

async fn changes_come_in_order_with_growing_revisions(store: impl Store) {
    let mut case = Case::begin(store).await;
    let first = case.register(&registration("a", 1)).await;
    let second = case.register(&registration("b", 2)).await;
    assert!(first.created && first.changed && second.created);
    assert!(first.endpoint.revision < second.endpoint.revision);
    assert!(second.endpoint.revision.0 < 1 << 53, "JSON readers would round it");
    let id = first.endpoint.id.clone();
    let gone = case.api(Command::Deregister(id.clone())).await;
    let CommandOutcome::Deregistered { endpoint, revision } = gone else { panic!("{gone:?}") };
    assert_eq!(endpoint, first.endpoint);
    assert!(revision > second.endpoint.revision);
    let changes = case.changes(3, PROMPTLY).await;
    assert_eq!(changes[0].endpoint(), Some(&first.endpoint));
    let kinds: Vec<_> = changes.iter().map(Change::kind).collect();
    assert_eq!(kinds, ["registered", "registered", "deregistered"]);
}

async fn the_same_words_again_are_a_sign_of_life(store: impl Store) {
    let mut case = Case::begin(store).await;
    let first = case.register(&registration("a", 1)).await;
    case.changes(1, PROMPTLY).await;
    let again = case.register(&registration("a", 1)).await;
    assert!(!again.created && !again.changed);
    assert_eq!(again.endpoint.revision, first.endpoint.revision);
    assert_eq!(again.endpoint.registered_at, first.endpoint.registered_at);
    case.quiet(Duration::from_millis(1)).await;
    assert_eq!(case.renewed, [again.endpoint]);
}

async fn an_update_keeps_age_and_health(store: impl Store) {
    let mut case = Case::begin(store).await;
    let first = case.register(&registration("a", 1)).await;
    let report = HealthReport::new(HealthStatus::Passing, "ok");
    case.api(Command::Health(first.endpoint.id.clone(), report)).await;
    let newer = Registration { version: "2".into(), ..registration("a", 1) };
    let updated = case.register(&newer).await;
    assert!(!updated.created && updated.changed);
    assert_eq!(updated.endpoint.version, "2");
    assert_eq!(updated.endpoint.registered_at, first.endpoint.registered_at);
    assert_eq!(updated.endpoint.health, HealthStatus::Passing);
    assert_eq!(updated.endpoint.health_reason, "ok");
    assert_eq!(case.kinds(3).await, ["registered", "health", "updated"]);
}

async fn another_place_has_its_health_to_show_anew(store: impl Store) {
    let mut case = Case::begin(store).await;
    let id = Some("a-1".parse().unwrap());
    let first = Registration { id, ..registration("a", 1) };
    case.register(&first).await;
    let report = HealthReport::new(HealthStatus::Passing, "ok");
    case.api(Command::Health(first.id(), report)).await;
    let updated = case.register(&Registration { port: 2, ..first }).await;
    assert_eq!(updated.endpoint.health, HealthStatus::Unknown);
    assert_eq!(updated.endpoint.health_reason, "");
}

async fn another_name_moves_the_instance(store: impl Store) {
    let mut case = Case::begin(store).await;
    let id = Some("x".parse().unwrap());
    let first = case.register(&Registration { id: id.clone(), ..registration("a", 1) }).await;
    let second = case.register(&Registration { id, ..registration("b", 1) }).await;
    assert!(!second.created && second.changed);
    let changes = case.changes(3, PROMPTLY).await;
    assert_eq!(changes[1], Change::Deregistered { endpoint: first.endpoint });
    assert_eq!(changes[2], Change::Registered { endpoint: second.endpoint });
}

async fn what_is_not_known_is_said_to_be_unknown(store: impl Store) {
    let mut case = Case::begin(store).await;
    let id: portolan_core::ServiceId = "nobody".parse().unwrap();
    for command in [
        Command::Deregister(id.clone()),
        Command::Heartbeat(id.clone()),
        Command::Health(id.clone(), HealthReport::default()),
    ] {
        let error = case.apply(command, Source::Api).await.unwrap_err();
        assert_eq!(error, RegistryError::Unknown { id: id.clone() });
    }
    case.quiet(Duration::from_millis(1)).await;
}

async fn a_status_is_a_change_and_a_reason_is_not(store: impl Store) {
    let mut case = Case::begin(store).await;
    let id = case.register(&registration("a", 1)).await.endpoint.id.clone();
    for (status, reason) in [
        (HealthStatus::Critical, "refused"),
        (HealthStatus::Critical, "timed out"),
        (HealthStatus::Passing, ""),
    ] {
        let report = HealthReport::new(status, reason);
        let outcome = case.api(Command::Health(id.clone(), report)).await;
        let CommandOutcome::HealthUpdated(endpoint) = outcome else { panic!("{outcome:?}") };
        assert_eq!((endpoint.health, endpoint.health_reason.as_str()), (status, reason));
    }
    assert_eq!(case.kinds(3).await, ["registered", "health", "health"]);
    assert_eq!(case.renewed[0].health_reason, "timed out");
}

async fn a_lease_ends_within_a_second_of_its_ttl(store: impl Store) {
    let mut case = Case::begin(store).await;
    let brief = Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration("a", 1) };
    let endpoint = case.register(&brief).await.endpoint;
    case.register(&registration("b", 2)).await;
    case.changes(2, PROMPTLY).await;
    case.quiet(Ttl::MIN - Duration::from_millis(50)).await;
    let expired = case.changes(1, Duration::from_secs(1)).await;
    assert_eq!(expired, [Change::Expired { endpoint }]);
    let error = case.apply(Command::Heartbeat(brief.id()), Source::Api).await.unwrap_err();
    assert_eq!(error, RegistryError::Unknown { id: brief.id() });
}

async fn a_heartbeat_is_a_full_ttl(store: impl Store) {
    let mut case = Case::begin(store).await;
    let brief = Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration("a", 1) };
    case.register(&brief).await;
    case.changes(1, PROMPTLY).await;
    for _ in 0..3 {
        case.quiet(Duration::from_millis(700)).await;
        assert_eq!(case.api(Command::Heartbeat(brief.id())).await, CommandOutcome::Renewed);
        case.quiet(Duration::from_millis(700)).await;
        case.register(&brief).await;
    }
}

async fn a_word_on_health_is_no_sign_of_life(store: impl Store) {
    let mut case = Case::begin(store).await;
    let brief = Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration("a", 1) };
    case.register(&brief).await;
    case.changes(1, PROMPTLY).await;
    case.quiet(Duration::from_millis(700)).await;
    let report = HealthReport::new(HealthStatus::Unknown, "still looking");
    case.api(Command::Health(brief.id(), report)).await;
    assert_eq!(case.changes(1, Duration::from_millis(1300)).await[0].kind(), "expired");
}

async fn hearsay_never_touches_what_registered(store: impl Store) {
    let mut case = Case::begin(store).await;
    let registered = registration("a", 1);
    case.register(&registered).await;
    case.changes(1, PROMPTLY).await;
    let id = registered.id();
    for command in [
        Command::Register(Registration { version: "2".into(), ..registered }),
        Command::Deregister(id.clone()),
        Command::Heartbeat(id.clone()),
        Command::Health(id.clone(), HealthReport::new(HealthStatus::Critical, "rumour")),
    ] {
        let error = case.apply(command, Source::Broadcast).await.unwrap_err();
        assert_eq!(error, RegistryError::RegisteredByApi { id: id.clone() });
    }
    case.quiet(Duration::from_millis(1)).await;
}

async fn a_registration_takes_over_from_hearsay(store: impl Store) {
    let mut case = Case::begin(store).await;
    let heard = registration("a", 1);
    let (id, register) = (heard.id(), Command::Register(heard));
    case.apply(register.clone(), Source::Broadcast).await.unwrap();
    let heartbeat = case.apply(Command::Heartbeat(id.clone()), Source::Api).await;
    assert_eq!(heartbeat.unwrap_err(), RegistryError::Unknown { id: id.clone() });
    let again = case.apply(Command::Heartbeat(id.clone()), Source::Broadcast).await;
    assert_eq!(again.unwrap(), CommandOutcome::Renewed);

    case.api(register.clone()).await;
    assert_eq!(case.api(Command::Heartbeat(id.clone())).await, CommandOutcome::Renewed);
    let rumour = case.apply(Command::Deregister(id.clone()), Source::Broadcast).await;
    assert_eq!(rumour.unwrap_err(), RegistryError::RegisteredByApi { id: id.clone() });
    // Once it has gone by itself, hearsay may speak of it again.
    case.api(Command::Deregister(id.clone())).await;
    case.apply(register, Source::Broadcast).await.unwrap();
    case.apply(Command::Deregister(id), Source::Broadcast).await.unwrap();
    let kinds = case.kinds(4).await;
    assert_eq!(kinds, ["registered", "deregistered", "registered", "deregistered"]);
}

async fn an_invalid_registration_changes_nothing(store: impl Store) {
    let mut case = Case::begin(store).await;
    let outcome = case.apply(Command::Register(registration("a", 0)), Source::Api).await;
    assert!(matches!(outcome, Err(RegistryError::Invalid(_))), "{outcome:?}");
    case.quiet(Duration::from_millis(1)).await;
}
