//! Watches compared with a model.

use std::collections::BTreeMap;

use futures_util::{FutureExt, StreamExt};
use portolan_core::{Change, ServiceEvent};
use proptest::prelude::*;

use super::super::*;
use super::{registration, start, start_at};

#[derive(Debug, Clone)]
enum Step {
    Register(u8, u16, u8),
    Deregister(u8, u16),
    Read(usize, usize),
    Reconnect(usize),
    Bookmark(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8, 1..4u16, 0..3u8).prop_map(|(name, port, version)| Step::Register(name, port, version)),
        2 => (0..3u8, 1..4u16).prop_map(|(name, port)| Step::Deregister(name, port)),
        2 => (0..3usize, 1..6usize).prop_map(|(watch, count)| Step::Read(watch, count)),
        1 => (0..3usize).prop_map(Step::Reconnect),
        2 => (0..3usize).prop_map(Step::Bookmark),
    ];
    proptest::collection::vec(step, 1..60)
}

/// A client that follows a watch, and what it knows.
struct Follower {
    query: WatchQuery,
    watch: EventStream,
    known: BTreeMap<ServiceId, Arc<ServiceEndpoint>>,
    revision: Option<Revision>,
}

impl Follower {
    fn new(registry: &Registry, names: &[&str]) -> Self {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        let query = WatchQuery { names, ..WatchQuery::default() };
        let watch = registry.watch(query.clone());
        Self { query, watch, known: BTreeMap::new(), revision: None }
    }

    fn reconnect(&mut self, registry: &Registry) {
        self.query.from = self.revision;
        self.watch = registry.watch(self.query.clone());
    }

    fn bookmark(&mut self) {
        if let Some(revision) = self.watch.bookmark() {
            assert!(Some(revision) > self.revision, "{revision} after {:?}", self.revision);
            self.revision = Some(revision);
        }
    }

    fn read(&mut self, count: usize) {
        for _ in 0..count {
            let Some(event) = self.watch.next().now_or_never() else { return };
            self.follow(&event.unwrap());
        }
    }

    fn follow(&mut self, event: &ServiceEvent) {
        if let Change::Snapshot { endpoints, .. } = &event.change {
            let entry = |e: &Arc<ServiceEndpoint>| (e.id.clone(), Arc::clone(e));
            self.known = endpoints.iter().map(entry).collect();
        } else {
            assert!(Some(event.revision) > self.revision, "received twice, or out of order");
            let endpoint = event.change.endpoint().unwrap();
            let before = match event.change.is_removal() {
                true => self.known.remove(&endpoint.id),
                false => self.known.insert(endpoint.id.clone(), Arc::clone(endpoint)),
            };
            assert_eq!(before.is_none(), event.change.kind() == "registered", "an event was lost");
        }
        self.revision = Some(event.revision);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any pace of reading and any number of reconnects, a watch ends up with what a lookup
    /// finds, and receives no event twice and misses none.
    #[test]
    fn watch_and_lookup_agree(steps in steps(), history in 1..8usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let running = start(&RegistryConfig { history, ..Default::default() });
            let registry = &running.registry;
            let mut followers =
                [&[][..], &["s0"], &["s1", "s2"]].map(|names| Follower::new(registry, names));
            for step in steps {
                match step {
                    Step::Register(name, port, version) => {
                        let name = format!("s{name}");
                        let mut service = registration(&name, port);
                        // So that it displaces none of another name.
                        service.protocol = name.parse().unwrap();
                        service.version = version.to_string();
                        registry.register(service, CommandOrigin::local()).await.unwrap();
                    }
                    Step::Deregister(name, port) => {
                        drop(registry.deregister(&registration(&format!("s{name}"), port).id()).await);
                    }
                    Step::Read(watch, count) => followers[watch].read(count),
                    Step::Reconnect(watch) => followers[watch].reconnect(registry),
                    Step::Bookmark(watch) => followers[watch].bookmark(),
                }
            }
            tokio::task::yield_now().await;
            for follower in &mut followers {
                follower.read(usize::MAX);
                let names = follower.query.names.clone();
                let (found, _) = registry.lookup(&Query { names, ..Query::default() });
                let contents = |e: &Arc<ServiceEndpoint>| (e.id.clone(), e.revision, e.version.clone());
                let known: Vec<_> = follower.known.values().map(contents).collect();
                let mut found: Vec<_> = found.iter().map(contents).collect();
                found.sort();
                prop_assert_eq!(known, found);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn watch_of_a_quiet_service_resumes_from_a_bookmark_that_the_history_still_has() {
    let running = start(&RegistryConfig { history: 10, ..RegistryConfig::default() });
    let registry = &running.registry;
    tokio::time::sleep(RegistryConfig::default().heartbeat_interval()).await;
    let mut follower = Follower::new(registry, &["quiet"]);
    assert_eq!(follower.watch.bookmark(), None, "there is no snapshot yet");
    follower.read(1);
    assert_eq!(follower.watch.bookmark(), None, "nothing has changed");
    let without = follower.revision;
    for port in 1..100 {
        registry.register(registration("busy", port), CommandOrigin::local()).await.unwrap();
        if port == 95 {
            follower.bookmark();
        }
    }
    let kind = |from| {
        drop(registry.watch(WatchQuery::default()));
        let mut watch = registry.watch(WatchQuery { from, ..follower.query.clone() });
        watch.next().now_or_never().map(|event| event.unwrap().change.kind())
    };
    let bookmark = follower.revision;
    drop(std::mem::replace(&mut follower.watch, registry.watch(WatchQuery::default())));
    assert_eq!(kind(without), Some("snapshot"));
    assert_eq!(kind(bookmark), None, "nothing happened since");
}

/// The events of a watch that resumes after a restart, with the clock moved by `shift`.
async fn after_a_restart(shift: jiff::SignedDuration) -> (Revision, Vec<Arc<ServiceEvent>>) {
    let now = jiff::Timestamp::now();
    let first = start_at(&RegistryConfig::default(), now);
    let old =
        first.registry.register(registration("api", 1), CommandOrigin::local()).await.unwrap();
    let second = start_at(&RegistryConfig::default(), now + shift);
    second.registry.register(registration("api", 2), CommandOrigin::local()).await.unwrap();
    let from = Some(old.endpoint.revision);
    let watch = second.registry.watch(WatchQuery { from, ..WatchQuery::default() });
    second.registry.register(registration("api", 3), CommandOrigin::local()).await.unwrap();
    (old.endpoint.revision, watch.take(2).collect().await)
}

#[tokio::test(start_paused = true)]
async fn watch_that_resumes_after_a_restart_gets_a_snapshot() {
    for shift in [1, 3600, -1, -3600] {
        let (old, events) = after_a_restart(jiff::SignedDuration::from_secs(shift)).await;
        let Change::Snapshot { endpoints, .. } = &events[0].change else { panic!("{events:?}") };
        let ports: Vec<_> = endpoints.iter().map(|endpoint| endpoint.port).collect();
        assert_eq!(ports, [2, 3], "{shift}");
        assert_eq!(events[0].revision > old, shift > 0, "revisions fall only with the clock");
    }
}

#[tokio::test(start_paused = true)]
async fn watch_that_resumes_from_the_future_continues_at_lower_revisions() {
    let running = start(&RegistryConfig::default());
    let from = Some(Revision(u64::MAX));
    let mut watch = running.registry.watch(WatchQuery { from, ..WatchQuery::default() });
    let snapshot = watch.next().await.unwrap();
    assert_eq!(snapshot.change.kind(), "snapshot");
    running.registry.register(registration("api", 1), CommandOrigin::local()).await.unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!((event.change.kind(), event.revision.0), ("registered", snapshot.revision.0 + 1));
}
