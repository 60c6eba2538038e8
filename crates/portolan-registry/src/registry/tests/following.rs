//! Watches against a model of what they tell.

use std::collections::BTreeMap;

use futures_util::{FutureExt, StreamExt};
use portolan_core::{Change, ServiceEvent};
use proptest::prelude::*;

use super::super::*;
use super::{registration, start};

#[derive(Debug, Clone)]
enum Step {
    Register(u8, u16, u8),
    Deregister(u8, u16),
    Read(usize, usize),
    Reconnect(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8, 1..4u16, 0..3u8).prop_map(|(name, port, version)| Step::Register(name, port, version)),
        2 => (0..3u8, 1..4u16).prop_map(|(name, port)| Step::Deregister(name, port)),
        2 => (0..3usize, 1..6usize).prop_map(|(watch, count)| Step::Read(watch, count)),
        1 => (0..3usize).prop_map(Step::Reconnect),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a follower knows of the services that it watches.
struct Follower {
    query: WatchQuery,
    watch: Watch,
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

    fn read(&mut self, count: usize) {
        for _ in 0..count {
            let Some(event) = self.watch.next().now_or_never() else { return };
            self.follow(&event.unwrap());
        }
    }

    fn follow(&mut self, event: &ServiceEvent) {
        if let Change::Snapshot { endpoints } = &event.change {
            let entry = |e: &Arc<ServiceEndpoint>| (e.id.clone(), Arc::clone(e));
            self.known = endpoints.iter().map(entry).collect();
        } else {
            assert!(Some(event.revision) > self.revision, "seen twice, or out of order");
            let endpoint = event.change.endpoint().unwrap();
            let before = match event.change.is_removal() {
                true => self.known.remove(&endpoint.id),
                false => self.known.insert(endpoint.id.clone(), Arc::clone(endpoint)),
            };
            assert_eq!(before.is_none(), event.change.kind() == "registered", "one was lost");
        }
        self.revision = Some(event.revision);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However slowly it reads and however often it reconnects, a watch ends up knowing what a
    /// lookup finds, and nothing reaches it twice or not at all.
    #[test]
    fn who_follows_a_watch_knows_what_there_is(steps in steps(), history in 1..8usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let running = start(&RegistryConfig { history, ..Default::default() });
            let registry = &running.registry;
            let mut followers =
                [&[][..], &["s0"], &["s1", "s2"]].map(|names| Follower::new(registry, names));
            for step in steps {
                match step {
                    Step::Register(name, port, version) => {
                        let mut service = registration(&format!("s{name}"), port);
                        service.version = version.to_string();
                        registry.register(service, Source::Api).await.unwrap();
                    }
                    Step::Deregister(name, port) => {
                        drop(registry.deregister(&registration(&format!("s{name}"), port).id()).await);
                    }
                    Step::Read(watch, count) => followers[watch].read(count),
                    Step::Reconnect(watch) => followers[watch].reconnect(registry),
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
