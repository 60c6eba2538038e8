//! A registry over a data directory, across restarts.

use std::path::Path;

use futures_util::StreamExt;
use portolan_core::Change;
use portolan_metrics::Metrics;

use super::super::*;
use super::{Running, next, registration};

fn start(data_dir: &Path) -> Running {
    let data_dir = Some(data_dir.to_owned());
    let config = RegistryConfig { data_dir, ..RegistryConfig::default() };
    let metrics = Metrics::new();
    let (task, registry) = open(&config, metrics.clone()).unwrap();
    Running::spawn(task, registry, metrics)
}

async fn stop(running: Running) {
    drop(running.stop);
    running.task.await.unwrap();
}

async fn register(running: &Running, port: u16) -> Revision {
    let registered = running.registry.register(registration("api", port), CommandOrigin::local());
    registered.await.unwrap().endpoint.revision
}

#[tokio::test]
async fn watch_resumes_exactly_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let before = start(directory.path());
    assert!(before.registry.is_incomplete(), "nothing is known of earlier servers");
    let first = register(&before, 1).await;
    let second = register(&before, 2).await;
    stop(before).await;

    let after = start(directory.path());
    let third = register(&after, 3).await;
    assert!(!after.registry.is_incomplete());
    let mut events =
        after.registry.watch(WatchQuery { from: Some(first), ..WatchQuery::default() });
    let mut revisions = Vec::new();
    for _ in 0..2 {
        let event = next(&mut events).await;
        assert!(matches!(event.change, Change::Registered { .. }), "{event:?}");
        revisions.push(event.revision);
    }
    assert_eq!(revisions, [second, third]);
    // A revision that no server committed: what was seen of it is lost.
    let lost = Some(Revision(second.0 + 1));
    let mut events = after.registry.watch(WatchQuery { from: lost, ..WatchQuery::default() });
    let event = events.next().await.unwrap();
    assert!(matches!(event.change, Change::Snapshot { incomplete: false, .. }), "{event:?}");
    stop(after).await;
}
