use portolan_core::{Host, Registration, Ttl};
use portolan_metrics::Metrics;

use super::state::{EXPIRIES, OVERDUE};
use super::*;
use crate::RegistryError;
use crate::store::backlog::UPDATE;
use crate::store::delayed::delayed;
use crate::store::{Committed, Update, suite};

fn store(max_endpoints: usize) -> Memory {
    Memory::new(&RegistryConfig { max_endpoints, ..RegistryConfig::default() }).unwrap()
}

fn register(port: u16) -> Command {
    Command::Register(Registration::new("api".parse().unwrap(), Host::loopback(), port))
}

fn recorder() -> Recorder {
    Recorder::new(Metrics::new())
}

fn expiries(update: &Update) -> usize {
    let expired = |entry: &&Committed| match entry {
        Committed::Changed(event) => event.change.kind() == "expired",
        _ => false,
    };
    update.committed.iter().filter(expired).count()
}

impl Memory {
    async fn apply(
        &self,
        commands: &[Command],
        origin: CommandOrigin,
    ) -> Vec<Result<crate::CommandOutcome, RegistryError>> {
        self.commit(commands, &origin).await.outcomes
    }
}

#[tokio::test(start_paused = true)]
async fn memory_limits_the_instances_of_a_host() {
    let config = suite::limits::limited(RegistryConfig::default());
    suite::limits::run(|| crate::store::open(&config).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn memory_passes_the_suite_of_all_stores() {
    suite::run(|| {
        let store = store(100);
        let feed = store.feed();
        (Arc::new(store), feed)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn delayed_memory_passes_the_suite_of_all_stores() {
    suite::run(|| {
        let millis = Duration::from_millis;
        let (store, feed, _) = delayed(store(100), millis(20), millis(200));
        (store, feed)
    })
    .await;
}

#[tokio::test]
async fn memory_with_a_data_directory_passes_the_suite_of_all_stores() {
    let directories = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    suite::run(|| {
        count.set(count.get() + 1);
        let data_dir = Some(directories.path().join(count.get().to_string()));
        let store =
            Memory::open(&RegistryConfig { data_dir, ..RegistryConfig::default() }).unwrap();
        let feed = store.feed();
        (Arc::new(store), feed)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn full_store_rejects_new_endpoints_and_updates_known_ones() {
    let store = store(2);
    let outcomes = store.apply(&[register(1), register(2), register(3)], suite::api()).await;
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert_eq!(outcomes[2], Err(RegistryError::Full { limit: 2 }));
    assert!(store.apply(&[register(1)], suite::api()).await[0].is_ok());
    let id = register(2).id();
    assert!(
        store.apply(&[Command::Deregister(id.into()), register(3)], suite::api()).await[1].is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn broadcast_may_fill_half_of_the_store() {
    let store = store(4);
    let announced = [register(1), register(2), register(3)];
    let outcomes = store.apply(&announced, suite::broadcast()).await;
    assert_eq!(outcomes[2], Err(RegistryError::BroadcastFull { limit: 2 }));
    // One registers through the API, one is removed: both make room.
    assert!(store.apply(&[register(1)], suite::api()).await[0].is_ok());
    assert!(store.apply(&[register(3)], suite::broadcast()).await[0].is_ok());
    let removed = Command::Deregister(register(3).id().into());
    assert!(store.apply(&[removed, register(4)], suite::broadcast()).await[1].is_ok());
}

#[tokio::test(start_paused = true)]
async fn lease_scan_ends_leases_that_the_timer_queue_missed() {
    let store = store(10);
    let mut feed = store.feed();
    store.apply(&[register(1), register(2)], suite::api()).await;
    tokio::time::advance(Ttl::DEFAULT.duration()).await;
    assert_eq!(store.sweep(&recorder()), 0, "the timer queue is not late yet");
    tokio::time::advance(OVERDUE).await;
    assert_eq!(feed.next().await.unwrap().index, 2, "the reset shows both");
    assert_eq!(store.sweep(&recorder()), 2);
    assert_eq!(expiries(&feed.next().await.unwrap()), 2);
    assert_eq!(store.shared.state.lock().broadcast, 0);
}

#[tokio::test(start_paused = true)]
async fn many_leases_that_end_at_once_end_in_steps() {
    let store = store(1000);
    let mut feed = store.feed();
    feed.next().await.unwrap();
    let all: Vec<_> = (1..=600).map(register).collect();
    store.apply(&all, suite::api()).await;
    let mut registered = 0;
    while registered < 600 {
        let update = feed.next().await.unwrap();
        assert!(update.committed.len() <= UPDATE);
        registered += update.committed.len();
    }
    let maintenance = store.maintain(recorder());
    tokio::pin!(maintenance);
    let (mut steps, mut expired) = (0, 0);
    while expired < 600 {
        tokio::select! {
            () = &mut maintenance => unreachable!("it runs for ever"),
            update = feed.next() => {
                let count = expiries(&update.unwrap());
                assert!(count <= EXPIRIES);
                (steps, expired) = (steps + 1, expired + count);
            }
        }
    }
    assert!(steps > 1);
}

#[tokio::test(start_paused = true)]
async fn feed_that_falls_too_far_behind_continues_with_a_reset() {
    let store = store(10);
    let mut feed = store.feed();
    feed.next().await.unwrap();
    store.apply(&[register(1)], suite::api()).await;
    let heartbeats = vec![Command::Heartbeat(register(1).id().into()); 100_001];
    let receipt = store.commit(&heartbeats, &suite::api()).await;
    let update = feed.next().await.unwrap();
    assert_eq!(update.index, receipt.index);
    let [Committed::Reset { endpoints, .. }] = &update.committed[..] else { panic!("{update:?}") };
    assert_eq!(endpoints.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_server_takes_over_the_maintenance() {
    let first = store(10);
    let second = first.join();
    let metrics = Metrics::new();
    let ttl = Ttl::DEFAULT.duration() + OVERDUE;
    first.apply(&[register(1)], suite::api()).await;
    let leader = tokio::spawn(async move { first.maintain(recorder()).await });
    tokio::task::yield_now().await;
    let follower = Recorder::new(metrics.clone());
    let mut feed = second.feed();
    let follower = tokio::spawn(async move { second.maintain(follower).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(matches!(feed.next().await.unwrap().committed[0], Committed::Reset { .. }));
    leader.abort();
    let update = tokio::time::timeout(ttl, feed.next()).await.unwrap().unwrap();
    assert_eq!(expiries(&update), 1);
    let counted = r#"discovery_services_deregistered_total{service_name="api"} 1"#;
    assert!(metrics.encode().contains(counted));
    follower.abort();
}

#[test]
fn revisions_after_a_restart_are_above_those_before() {
    let at = |time: &str| first_revision(time.parse().unwrap());
    let first = at("2026-11-23T12:00:00Z");
    assert!(at("2026-11-23T12:00:01Z").0 > first.0 + 1_000_000);
    assert!(at("2200-01-01T00:00:00Z").0 < 1 << 53);
}

/// Runs the maintenance of a store.
fn maintained(store: Memory) -> (Arc<Memory>, tokio_util::task::AbortOnDropHandle<()>) {
    let store = Arc::new(store);
    let maintained = Arc::clone(&store);
    let task = tokio::spawn(async move { maintained.maintain(recorder()).await });
    (store, tokio_util::task::AbortOnDropHandle::new(task))
}

async fn next_change(feed: &mut Box<dyn Feed>) -> portolan_core::Change {
    loop {
        for entry in feed.next().await.unwrap().committed {
            if let Committed::Changed(event) = entry {
                return event.change.clone();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pause_of_the_process_ends_no_lease_and_is_visible_until_the_next_heartbeat() {
    let store = store(10);
    let mut feed = store.feed();
    let report = portolan_core::HealthReport::new(portolan_core::HealthStatus::Passing, "ok");
    let health = Command::Health(register(1).id().into(), report);
    store.apply(&[register(1), health], suite::api()).await;
    feed.next().await.unwrap();
    let (store, _maintenance) = maintained(store);
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::time::advance(Duration::from_mins(2)).await;
    let kept = next_change(&mut feed).await;
    let endpoint = kept.endpoint().unwrap();
    assert_eq!(kept.kind(), "health");
    assert_eq!(endpoint.health, portolan_core::HealthStatus::Unknown);
    assert!(endpoint.health_reason.contains("paused"), "{}", endpoint.health_reason);
    store.apply(&[Command::Heartbeat(register(1).id().into())], suite::api()).await;
    let restored = next_change(&mut feed).await;
    let endpoint = restored.endpoint().unwrap();
    assert_eq!(endpoint.health, portolan_core::HealthStatus::Passing);
    assert_eq!(endpoint.health_reason, "ok");
    // Without a heartbeat it ends.
    let ended =
        tokio::time::timeout(Ttl::DEFAULT.duration() + OVERDUE, next_change(&mut feed)).await;
    assert_eq!(ended.unwrap().kind(), "expired");
}

#[tokio::test(start_paused = true)]
async fn heartbeat_is_late_from_half_of_the_ttl_on_and_that_makes_no_revision() {
    let store = store(10);
    store.apply(&[register(1)], suite::api()).await;
    let before = store.shared.state.lock().revision();
    let id = register(1).id();
    let half = Ttl::DEFAULT.duration() / 2;
    let millisecond = Duration::from_millis(1);
    assert!(!store.is_heartbeat_late(&id));
    tokio::time::advance(half - millisecond).await;
    assert!(!store.is_heartbeat_late(&id));
    tokio::time::advance(millisecond).await;
    assert!(store.is_heartbeat_late(&id));
    // A health report is no heartbeat.
    let report = portolan_core::HealthReport::new(portolan_core::HealthStatus::Unknown, "");
    store.apply(&[Command::Health(id.clone().into(), report)], suite::api()).await;
    assert!(store.is_heartbeat_late(&id));
    store.apply(&[Command::Heartbeat(id.clone().into())], suite::api()).await;
    assert!(!store.is_heartbeat_late(&id));
    assert_eq!(store.shared.state.lock().revision(), before);
    assert!(!store.is_heartbeat_late(&register(2).id()), "it is not registered");
}

#[tokio::test(start_paused = true)]
async fn second_pause_without_a_heartbeat_extends_nothing() {
    let store = store(10);
    let mut feed = store.feed();
    store.apply(&[register(1)], suite::api()).await;
    feed.next().await.unwrap();
    let (_store, _maintenance) = maintained(store);
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::time::advance(Duration::from_mins(2)).await;
    assert_eq!(next_change(&mut feed).await.kind(), "health");
    tokio::time::advance(Duration::from_mins(2)).await;
    let ended = tokio::time::timeout(OVERDUE, next_change(&mut feed)).await;
    assert_eq!(ended.unwrap().kind(), "expired");
}
