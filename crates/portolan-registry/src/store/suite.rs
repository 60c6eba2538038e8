//! What every store must do. A store's tests call [`run`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{
    Change, HealthReport, HealthStatus, Host, Registration, Revision, ServiceEndpoint, Source, Ttl,
};
use portolan_metrics::Metrics;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{Committed, Feed, Store, StoreParts, Update};
use crate::{Command, CommandOrigin, CommandOutcome, Recorder, Registered, RegistryError};

pub(crate) mod limits;
mod live_settings;
mod owners;
mod restore;
mod settings;

/// How long a store may take for anything but the end of a lease.
const PROMPTLY: Duration = Duration::from_secs(5);
/// How long a store may take to show what was committed.
const SETTLE: Duration = Duration::from_millis(500);

/// Runs every part of the suite; `open` returns an empty store with the default TTL and its feed.
pub(crate) async fn run(open: impl Fn() -> StoreParts) {
    feed_begins_with_the_whole_state(Case::open(&open).await).await;
    changes_are_ordered_by_growing_revisions(Case::open(&open).await).await;
    same_registration_again_renews_the_lease(Case::open(&open).await).await;
    update_keeps_age_and_health(Case::open(&open).await).await;
    update_of_the_address_resets_health(Case::open(&open).await).await;
    update_of_the_name_moves_the_instance(Case::open(&open).await).await;
    commands_on_an_unknown_id_are_rejected(Case::open(&open).await).await;
    health_status_is_a_change_and_its_reason_is_not(Case::open(&open).await).await;
    lease_ends_within_a_second_of_its_ttl(Case::open(&open).await).await;
    heartbeat_renews_the_lease(Case::open(&open).await).await;
    health_report_does_not_renew_lease(Case::open(&open).await).await;
    broadcast_does_not_change_registered_instances(Case::open(&open).await).await;
    registration_takes_over_from_broadcast(Case::open(&open).await).await;
    invalid_registration_changes_nothing(Case::open(&open).await).await;
    live_settings::run(&open).await;
    owners::run(&open).await;
    restore::run(&open).await;
    settings::run(&open).await;
}

pub(crate) fn registration(name: &str, port: u16) -> Registration {
    Registration::new(name.parse().unwrap(), Host::loopback(), port)
}

/// A request through the API from this host.
pub(crate) fn api() -> CommandOrigin {
    CommandOrigin::local()
}

/// A request through the API from another host.
fn from(peer: &str) -> CommandOrigin {
    CommandOrigin::api(peer.parse::<IpAddr>().unwrap())
}

/// An announcement of another host.
pub(crate) fn broadcast() -> CommandOrigin {
    CommandOrigin::broadcast("10.0.0.99".parse().unwrap())
}

/// A store and what has come out of its feed.
struct Case {
    store: Arc<dyn Store>,
    feed: Box<dyn Feed>,
    /// The index that the feed has reached.
    index: u64,
    changes: Vec<(Revision, Change)>,
    renewed: Vec<Arc<ServiceEndpoint>>,
    _maintenance: AbortOnDropHandle<()>,
}

impl Case {
    /// Opens a store and reads the reset that its feed begins with.
    async fn open(open: impl Fn() -> StoreParts) -> Self {
        let (store, mut feed) = open();
        let maintained = Arc::clone(&store);
        let maintenance = AbortOnDropHandle::new(tokio::spawn(async move {
            maintained.maintain(Recorder::new(Metrics::new())).await;
        }));
        let first = timeout(PROMPTLY, feed.next()).await.unwrap().unwrap();
        assert!(matches!(first.committed[0], Committed::Reset { .. }), "{first:?}");
        let (changes, renewed) = (Vec::new(), Vec::new());
        let mut case = Self { store, feed, index: 0, changes, renewed, _maintenance: maintenance };
        case.take(first);
        case
    }

    async fn apply(
        &mut self,
        command: Command,
        origin: CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        let mut receipt = self.store.commit(&[command], &origin).await;
        assert_eq!(receipt.outcomes.len(), 1);
        receipt.outcomes.remove(0)
    }

    async fn api(&mut self, command: Command) -> CommandOutcome {
        self.apply(command, api()).await.unwrap()
    }

    async fn register(&mut self, registration: &Registration) -> Registered {
        match self.api(Command::Register(registration.clone())).await {
            CommandOutcome::Registered(registered) => registered,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for so many changes since the last call.
    async fn changes(&mut self, count: usize, within: Duration) -> Vec<Change> {
        while self.changes.len() < count {
            let update = timeout(within, self.feed.next()).await;
            let update = update.unwrap_or_else(|_| panic!("{} of {count}", self.changes.len()));
            self.take(update.unwrap());
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
        while let Ok(update) = tokio::time::timeout_at(deadline, self.feed.next()).await {
            self.take(update.unwrap());
        }
        assert_eq!(self.changes, []);
    }

    fn take(&mut self, update: Update) {
        assert!(update.index >= self.index, "the index of the feed fell");
        self.index = update.index;
        for committed in update.committed {
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

async fn feed_begins_with_the_whole_state(mut case: Case) {
    case.quiet(SETTLE).await;
}

async fn changes_are_ordered_by_growing_revisions(mut case: Case) {
    let first = case.register(&registration("a", 1)).await;
    let second = case.register(&registration("b", 2)).await;
    assert!(first.created && first.changed && second.created);
    assert!(first.endpoint.revision < second.endpoint.revision);
    assert!(second.endpoint.revision.0 < 1 << 53, "JSON readers would round it");
    let id = first.endpoint.id.clone();
    let gone = case.api(Command::Deregister(id.clone().into())).await;
    let CommandOutcome::Deregistered { endpoint, revision } = gone else { panic!("{gone:?}") };
    assert_eq!(endpoint, first.endpoint);
    assert!(revision > second.endpoint.revision);
    let changes = case.changes(3, PROMPTLY).await;
    assert_eq!(changes[0].endpoint(), Some(&first.endpoint));
    let kinds: Vec<_> = changes.iter().map(Change::kind).collect();
    assert_eq!(kinds, ["registered", "registered", "deregistered"]);
}

async fn same_registration_again_renews_the_lease(mut case: Case) {
    let first = case.register(&registration("a", 1)).await;
    case.changes(1, PROMPTLY).await;
    let again = case.register(&registration("a", 1)).await;
    assert!(!again.created && !again.changed);
    assert_eq!(again.endpoint.revision, first.endpoint.revision);
    assert_eq!(again.endpoint.registered_at, first.endpoint.registered_at);
    case.quiet(SETTLE).await;
    assert_eq!(case.renewed, [again.endpoint]);
}

async fn update_keeps_age_and_health(mut case: Case) {
    let first = case.register(&registration("a", 1)).await;
    let report = HealthReport::new(HealthStatus::Passing, "ok");
    case.api(Command::Health(first.endpoint.id.clone().into(), report)).await;
    let newer = Registration { version: "2".into(), ..registration("a", 1) };
    let updated = case.register(&newer).await;
    assert!(!updated.created && updated.changed);
    assert_eq!(updated.endpoint.version, "2");
    assert_eq!(updated.endpoint.registered_at, first.endpoint.registered_at);
    assert_eq!(updated.endpoint.health, HealthStatus::Passing);
    assert_eq!(updated.endpoint.health_reason, "ok");
    assert_eq!(case.kinds(3).await, ["registered", "health", "updated"]);
}

async fn update_of_the_address_resets_health(mut case: Case) {
    let id = Some("a-1".parse().unwrap());
    let first = Registration { id, ..registration("a", 1) };
    case.register(&first).await;
    let report = HealthReport::new(HealthStatus::Passing, "ok");
    case.api(Command::Health(first.id().into(), report)).await;
    let updated = case.register(&Registration { port: 2, ..first }).await;
    assert_eq!(updated.endpoint.health, HealthStatus::Unknown);
    assert_eq!(updated.endpoint.health_reason, "");
}

async fn update_of_the_name_moves_the_instance(mut case: Case) {
    let id = Some("x".parse().unwrap());
    let first = case.register(&Registration { id: id.clone(), ..registration("a", 1) }).await;
    let second = case.register(&Registration { id, ..registration("b", 1) }).await;
    assert!(!second.created && second.changed);
    let changes = case.changes(3, PROMPTLY).await;
    assert_eq!(changes[1], Change::Deregistered { endpoint: first.endpoint });
    assert_eq!(changes[2], Change::Registered { endpoint: second.endpoint });
}

async fn commands_on_an_unknown_id_are_rejected(mut case: Case) {
    let id: portolan_core::ServiceId = "unknown".parse().unwrap();
    for command in [
        Command::Deregister(id.clone().into()),
        Command::Heartbeat(id.clone().into()),
        Command::Health(id.clone().into(), HealthReport::default()),
    ] {
        let error = case.apply(command, api()).await.unwrap_err();
        assert_eq!(error, RegistryError::Unknown { id: id.clone() });
    }
    case.quiet(SETTLE).await;
}

async fn health_status_is_a_change_and_its_reason_is_not(mut case: Case) {
    let id = case.register(&registration("a", 1)).await.endpoint.id.clone();
    for (status, reason) in [
        (HealthStatus::Critical, "refused"),
        (HealthStatus::Critical, "timed out"),
        (HealthStatus::Passing, ""),
    ] {
        let report = HealthReport::new(status, reason);
        let outcome = case.api(Command::Health(id.clone().into(), report)).await;
        let CommandOutcome::HealthUpdated(endpoint) = outcome else { panic!("{outcome:?}") };
        assert_eq!((endpoint.health, endpoint.health_reason.as_str()), (status, reason));
    }
    assert_eq!(case.kinds(3).await, ["registered", "health", "health"]);
    assert_eq!(case.renewed[0].health_reason, "timed out");
}

async fn lease_ends_within_a_second_of_its_ttl(mut case: Case) {
    let brief = Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration("a", 1) };
    let endpoint = case.register(&brief).await.endpoint;
    case.register(&registration("b", 2)).await;
    case.changes(2, PROMPTLY).await;
    case.quiet(Ttl::MIN - Duration::from_millis(50)).await;
    let expired = case.changes(1, Duration::from_secs(1)).await;
    assert_eq!(expired, [Change::Expired { endpoint }]);
    let error = case.apply(Command::Heartbeat(brief.id().into()), api()).await.unwrap_err();
    assert_eq!(error, RegistryError::Unknown { id: brief.id() });
}

async fn heartbeat_renews_the_lease(mut case: Case) {
    let brief = Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration("a", 1) };
    case.register(&brief).await;
    case.changes(1, PROMPTLY).await;
    for _ in 0..3 {
        case.quiet(Duration::from_millis(700)).await;
        assert_eq!(case.api(Command::Heartbeat(brief.id().into())).await, CommandOutcome::Renewed);
        case.quiet(Duration::from_millis(700)).await;
        case.register(&brief).await;
    }
}

async fn health_report_does_not_renew_lease(mut case: Case) {
    let brief = Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration("a", 1) };
    case.register(&brief).await;
    case.changes(1, PROMPTLY).await;
    case.quiet(Duration::from_millis(700)).await;
    let report = HealthReport::new(HealthStatus::Unknown, "pending");
    case.api(Command::Health(brief.id().into(), report)).await;
    assert_eq!(case.changes(1, Duration::from_millis(1300)).await[0].kind(), "expired");
}

async fn broadcast_does_not_change_registered_instances(mut case: Case) {
    let registered = registration("a", 1);
    case.register(&registered).await;
    case.changes(1, PROMPTLY).await;
    let id = registered.id();
    for command in [
        Command::Register(Registration { version: "2".into(), ..registered }),
        Command::Deregister(id.clone().into()),
        Command::Heartbeat(id.clone().into()),
        Command::Health(
            id.clone().into(),
            HealthReport::new(HealthStatus::Critical, "from broadcast"),
        ),
    ] {
        let error = case.apply(command, broadcast()).await.unwrap_err();
        assert_eq!(error, RegistryError::RegisteredByApi { id: id.clone() });
    }
    case.quiet(SETTLE).await;
}

async fn registration_takes_over_from_broadcast(mut case: Case) {
    let announced = registration("a", 1);
    let (id, register) = (announced.id(), Command::Register(announced));
    case.apply(register.clone(), broadcast()).await.unwrap();
    let heartbeat = case.apply(Command::Heartbeat(id.clone().into()), api()).await;
    assert_eq!(heartbeat.unwrap_err(), RegistryError::Unknown { id: id.clone() });
    let again = case.apply(Command::Heartbeat(id.clone().into()), broadcast()).await;
    assert_eq!(again.unwrap(), CommandOutcome::Renewed);

    case.api(register.clone()).await;
    assert_eq!(case.api(Command::Heartbeat(id.clone().into())).await, CommandOutcome::Renewed);
    let refused = case.apply(Command::Deregister(id.clone().into()), broadcast()).await;
    assert_eq!(refused.unwrap_err(), RegistryError::RegisteredByApi { id: id.clone() });
    // After it deregistered, it can be learned by broadcast again.
    case.api(Command::Deregister(id.clone().into())).await;
    case.apply(register, broadcast()).await.unwrap();
    case.apply(Command::Deregister(id.into()), broadcast()).await.unwrap();
    let changes = case.changes(5, PROMPTLY).await;
    let kinds: Vec<_> = changes.iter().map(Change::kind).collect();
    assert_eq!(kinds, ["registered", "updated", "deregistered", "registered", "deregistered"]);
    let sources: Vec<_> = changes.iter().map(|change| change.endpoint().unwrap().source).collect();
    let (registered, announced) = (Source::Registered, Source::Broadcast);
    assert_eq!(sources, [announced, registered, registered, announced, announced]);
}

async fn invalid_registration_changes_nothing(mut case: Case) {
    let outcome = case.apply(Command::Register(registration("a", 0)), api()).await;
    assert!(matches!(outcome, Err(RegistryError::Invalid(_))), "{outcome:?}");
    case.quiet(SETTLE).await;
}
