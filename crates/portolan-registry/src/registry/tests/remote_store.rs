//! A registry over a store with slow commits, a feed that stalls, and outages.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{FutureExt, StreamExt};
use portolan_core::Change;
use tokio::task::JoinSet;

use super::super::*;
use super::{Running, next, registration};
use crate::store::Memory;
use crate::store::delayed::{Faults, delayed};

/// The age from which a view is stale.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest time that a registry may take to stop: longer than a drain and catching up.
const STOP_WITHIN: Duration = Duration::from_millis(700);

fn start(commit: Duration) -> (Running, Faults) {
    let config = RegistryConfig { history: 100_000, ..RegistryConfig::default() };
    let metrics = Metrics::new();
    let memory = Memory::new(&config).unwrap();
    let (store, feed, faults) = delayed(memory, commit, Duration::from_millis(1));
    let (task, registry) = open_over(store, feed, &config, metrics.clone());
    (Running::spawn(task, registry, metrics), faults)
}

async fn register(registry: Registry, port: u16, version: u32) -> Result<Revision, RegistryError> {
    let service = Registration { version: version.to_string(), ..registration("api", port) };
    Ok(registry.register(service, CommandOrigin::local()).await?.endpoint.revision)
}

/// A caller's result, and how long it waited.
type Answer = (Result<Revision, RegistryError>, Duration);

/// Registers 1,000 instances in turn, 10 a millisecond, each time with the next version.
async fn register_ten_a_millisecond(registry: &Registry, span: Duration) -> Vec<Answer> {
    let mut callers = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for number in 0..u32::try_from(span.as_millis()).unwrap() * 10 {
        if number % 10 == 0 {
            ticks.tick().await;
        }
        let (registry, port) = (registry.clone(), u16::try_from(1 + number % 1000).unwrap());
        callers.spawn(async move {
            let start = Instant::now();
            (register(registry, port, number / 1000).await, start.elapsed())
        });
    }
    callers.join_all().await
}

/// Stalls the feed after half a second, for two seconds.
async fn stall_for_two_seconds(faults: &Faults) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    faults.stall.send_replace(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    faults.stall.send_replace(false);
}

/// Asserts that the watch shows every registration that was answered, and for each instance the
/// versions in order.
async fn check_events(watch: &mut EventStream, answers: &[Answer]) {
    let mut missing: BTreeSet<_> =
        answers.iter().filter_map(|(result, _)| result.as_ref().ok()).collect();
    let mut versions = BTreeMap::new();
    while !missing.is_empty() {
        let event = next(watch).await;
        let (Change::Registered { endpoint } | Change::Updated { endpoint }) = &event.change else {
            panic!("{event:?}");
        };
        missing.remove(&event.revision);
        let version: u32 = endpoint.version.parse().unwrap();
        let before = versions.insert(endpoint.port, version);
        assert!(before < Some(version), "{}: {version} after {before:?}", endpoint.port);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_registrations_a_second_survive_a_feed_that_stalls() {
    let (running, faults) = start(Duration::from_millis(3));
    let mut watch = running.registry.watch(WatchQuery::default());
    next(&mut watch).await;
    let load = register_ten_a_millisecond(&running.registry, Duration::from_secs(3));
    let (answers, ()) = tokio::join!(load, stall_for_two_seconds(&faults));
    assert_eq!(answers.len(), 30_000);
    for (result, waited) in &answers {
        assert!(*waited <= ANSWER_WITHIN, "{waited:?}");
        let retry =
            matches!(result, Err(RegistryError::Busy(_) | RegistryError::Unavailable { .. }));
        assert!(result.is_ok() || retry, "{result:?}");
    }
    let answered = answers.iter().filter(|(result, _)| result.is_ok()).count();
    assert_eq!(answered, 30_000, "the stall is shorter than the deadline");
    check_events(&mut watch, &answers).await;

    // A shutdown under load, with a feed that stalls again.
    faults.stall.send_replace(true);
    let registry = running.registry.clone();
    let load =
        tokio::spawn(
            async move { register_ten_a_millisecond(&registry, Duration::from_secs(1)).await },
        );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stopping = Instant::now();
    drop(running.stop);
    running.task.await.unwrap();
    assert!(stopping.elapsed() <= STOP_WITHIN, "{:?}", stopping.elapsed());
    for (result, waited) in load.await.unwrap() {
        assert!(waited <= ANSWER_WITHIN);
        assert_eq!(result, Err(RegistryError::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn outage_fails_commands_and_keeps_reads_and_watches() {
    let (running, faults) = start(Duration::from_millis(20));
    let registry = &running.registry;
    let mut watch = registry.watch(WatchQuery::default());
    next(&mut watch).await;
    register(registry.clone(), 1, 1).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert_eq!(registry.status(), RegistryStatus::Ready);

    faults.outage.send_replace(true);
    let error = register(registry.clone(), 2, 1).await.unwrap_err();
    let reason = "connection refused".to_owned();
    assert_eq!(error, RegistryError::Unavailable { store: "delayed", reason });
    assert_eq!(registry.status(), RegistryStatus::Ready, "its view is not old yet");
    tokio::time::sleep(LIMIT * 3 / 2).await;
    assert_eq!(registry.status(), RegistryStatus::Stale);
    assert!(registry.view_age() > LIMIT);
    let stale = registry.staleness().unwrap().to_string();
    let expected = "the registry is stale: its view is 15s old, more than 10s: lost the feed of the store delayed: \
                    connection reset";
    assert_eq!(stale, expected);
    assert_eq!(registry.list().len(), 1, "lookups go on");

    faults.outage.send_replace(false);
    register(registry.clone(), 2, 1).await.unwrap();
    assert_eq!(registry.status(), RegistryStatus::Ready);
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert!(watch.next().now_or_never().is_none(), "nothing twice");
}

/// A feed that is open and silent: it has lost its store without an error.
#[tokio::test(start_paused = true)]
async fn quiet_store_keeps_the_view_current_and_a_silent_one_does_not() {
    let (running, faults) = start(Duration::from_millis(3));
    let registry = &running.registry;
    register(registry.clone(), 1, 1).await.unwrap();
    tokio::time::sleep(10 * LIMIT).await;
    assert!(registry.view_age() <= Duration::from_secs(2), "{:?}", registry.view_age());
    assert_eq!(registry.status(), RegistryStatus::Ready);
    faults.stall.send_replace(true);
    let late = register(registry.clone(), 2, 1).await;
    assert!(late.is_err(), "{late:?}");
    tokio::time::sleep(LIMIT).await;
    assert!(registry.view_age() > LIMIT, "{:?}", registry.view_age());
    assert_eq!(registry.status(), RegistryStatus::Stale);
}

#[tokio::test(start_paused = true)]
async fn command_whose_feed_is_late_fails_at_its_deadline_and_shows_later() {
    let (running, faults) = start(Duration::from_millis(3));
    let registry = &running.registry;
    register(registry.clone(), 1, 1).await.unwrap();
    faults.stall.send_replace(true);
    let start = Instant::now();
    let error = register(registry.clone(), 2, 1).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
    assert_eq!(start.elapsed(), ANSWER_WITHIN);
    assert_eq!(registry.status(), RegistryStatus::Stale);
    faults.stall.send_replace(false);
    register(registry.clone(), 3, 1).await.unwrap();
    assert_eq!(registry.status(), RegistryStatus::Ready);
    assert_eq!(registry.list().len(), 3);
}
