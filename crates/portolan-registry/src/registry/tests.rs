use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use futures_util::{FutureExt, StreamExt, poll};
use portolan_core::{Change, HealthStatus, ServiceEvent, Ttl};
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::store::suite::registration;

struct Running {
    registry: Registry,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    writer: JoinHandle<()>,
}

fn start(config: &RegistryConfig) -> Running {
    let metrics = Metrics::new();
    let (writer, registry) = open(config, metrics.clone()).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let writer = tokio::spawn(writer.run(stopped.map(drop)));
    Running { registry, metrics, stop, writer }
}

async fn next(watch: &mut Watch) -> Arc<ServiceEvent> {
    let event = timeout(Duration::from_secs(3600), watch.next()).await;
    event.expect("no event").expect("the watch ended")
}

fn brief(name: &str, port: u16) -> Registration {
    Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration(name, port) }
}

#[tokio::test(start_paused = true)]
async fn who_is_told_that_it_is_done_finds_it_done() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let registered = registry.register(registration("api", 1), Source::Api).await.unwrap();
    let id = &registered.endpoint.id;
    assert_eq!(registry.get(id), Some(Arc::clone(&registered.endpoint)));
    assert_eq!(registry.list(), [Arc::clone(&registered.endpoint)]);

    let report = HealthReport::new(HealthStatus::Warning, "slow");
    registry.update_health(id, report).await.unwrap();
    let (found, revision) = registry.lookup(&Query::of("api".parse().unwrap()));
    assert_eq!((found[0].health, &*found[0].health_reason), (HealthStatus::Warning, "slow"));
    assert_eq!(found[0].revision, revision);

    registry.heartbeat(id).await.unwrap();
    assert!(registry.get(id).unwrap().last_heartbeat >= found[0].last_heartbeat);
    registry.deregister(id).await.unwrap();
    assert_eq!(registry.get(id), None);
    let unknown = RegistryError::Unknown { id: id.clone() };
    assert_eq!(registry.deregister(id).await, Err(unknown));
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_an_outcome_for_each_command_in_order() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let api = registration("api", 1);
    let commands = vec![
        Command::Heartbeat(api.id()),
        Command::Register(api.clone()),
        Command::Heartbeat(api.id()),
        Command::Deregister(api.id()),
    ];
    let outcomes = registry.apply(commands, Source::Api).await;
    assert_eq!(outcomes[0], Err(RegistryError::Unknown { id: api.id() }));
    assert!(matches!(outcomes[1], Ok(Outcome::Registered(Registered { created: true, .. }))));
    assert_eq!(outcomes[2], Ok(Outcome::Alive));
    assert!(matches!(outcomes[3], Ok(Outcome::Deregistered { .. })));
    assert_eq!(registry.list(), []);
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_every_change_once_and_in_order() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let mut watch = registry.watch(WatchQuery::default());
    assert!(
        matches!(&next(&mut watch).await.change, Change::Snapshot { endpoints } if endpoints.is_empty())
    );
    let id = registry.register(brief("api", 1), Source::Api).await.unwrap().endpoint.id.clone();
    registry
        .register(Registration { version: "2".into(), ..brief("api", 1) }, Source::Api)
        .await
        .unwrap();
    registry.update_health(&id, HealthReport::new(HealthStatus::Passing, "")).await.unwrap();
    registry.heartbeat(&id).await.unwrap();
    registry.deregister(&id).await.unwrap();
    registry.register(brief("api", 1), Source::Api).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&"expired") {
        seen.push(next(&mut watch).await.change.kind());
    }
    assert_eq!(seen, ["registered", "updated", "health", "deregistered", "registered", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_sleeps_while_others_change() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let names = vec!["api".parse().unwrap(), "api".parse().unwrap()];
    let scopes = vec!["shop".parse().unwrap()];
    let mut watch = registry.watch(WatchQuery { names, scopes, from: None });
    next(&mut watch).await;
    let waiting = Wakes::of(&mut watch);
    assert_eq!(waiting.count(), 0);
    registry.register(registration("db", 1), Source::Api).await.unwrap();
    registry.register(registration("api", 2), Source::Api).await.unwrap();
    assert_eq!(waiting.count(), 0, "another name, and another scope");
    let ours = Registration { scope: "shop".parse().unwrap(), ..registration("api", 3) };
    registry.register(ours, Source::Api).await.unwrap();
    assert_eq!(waiting.count(), 1);
    assert_eq!(next(&mut watch).await.change.endpoint().unwrap().port, 3);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_cannot_keep_up_gets_a_snapshot_and_goes_on() {
    let running = start(&RegistryConfig { history: 3, ..Default::default() });
    let registry = &running.registry;
    let mut watch = registry.watch(WatchQuery::default());
    next(&mut watch).await;
    for port in 1..=10 {
        registry.register(registration("api", port), Source::Api).await.unwrap();
    }
    let caught_up = next(&mut watch).await;
    assert!(matches!(&caught_up.change, Change::Snapshot { endpoints } if endpoints.len() == 10));
    registry.register(registration("api", 11), Source::Api).await.unwrap();
    let event = next(&mut watch).await;
    assert_eq!((event.change.kind(), event.revision.0), ("registered", caught_up.revision.0 + 1));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_registry_answers_everybody() {
    let Running { registry, stop, writer, .. } = start(&RegistryConfig::default());
    let mut watch = registry.watch(WatchQuery::default());
    next(&mut watch).await;
    assert!(registry.is_ready());
    // Asked before the end, answered after it was announced.
    let asked = registry.clone();
    let mut early = Box::pin(asked.register(registration("api", 1), Source::Api));
    assert!(poll!(&mut early).is_pending());
    drop(stop);
    assert!(early.await.unwrap().created);
    writer.await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert!(watch.next().await.is_none());
    assert!(!registry.is_ready());
    let late = registry.register(registration("api", 2), Source::Api).await;
    assert_eq!(late, Err(RegistryError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_does_not_write_is_not_waited_for_forever() {
    let (writer, registry) = open(&RegistryConfig::default(), Metrics::new()).unwrap();
    let error = registry.register(registration("api", 1), Source::Api).await.unwrap_err();
    assert_eq!(error, RegistryError::Busy(ANSWER_WITHIN));
    let mut watch = registry.watch(WatchQuery::default());
    assert!(poll!(watch.next()).is_pending());
    drop(writer);
    assert!(watch.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_is_imported_by_its_action() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let service = registration("api", 1).into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
    let hear = |action| ServiceAnnouncement { action, service: service.clone(), in_reply_to: None };
    let heard = registry.import(&hear(Action::Heartbeat)).await.unwrap();
    assert!(matches!(heard, Outcome::Registered(Registered { created: true, .. })));
    assert!(registry.get(&service.id).is_some());
    registry.import(&hear(Action::Deregister)).await.unwrap();
    assert!(registry.get(&service.id).is_none());
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_how_many_came_went_were_looked_up_and_are_unwell() {
    let running = start(&RegistryConfig::default());
    let Running { registry, metrics, .. } = &running;
    let first = registry.register(registration("api", 1), Source::Api).await.unwrap();
    registry.register(brief("api", 2), Source::Api).await.unwrap();
    let critical = HealthReport::new(HealthStatus::Critical, "");
    registry.update_health(&first.endpoint.id, critical).await.unwrap();
    registry.lookup(&Query {
        names: vec!["api".parse().unwrap(), "db".parse().unwrap()],
        ..Default::default()
    });
    let mut watch =
        registry.watch(WatchQuery { from: Some(first.endpoint.revision), ..Default::default() });
    while next(&mut watch).await.change.kind() != "expired" {}
    tokio::task::yield_now().await;
    let text = metrics.encode();
    for line in [
        r#"discovery_services_registered_total{service_name="api"} 2"#,
        r#"discovery_services_deregistered_total{service_name="api"} 1"#,
        r#"discovery_service_lookups_total{service_name="api",result="success"} 1"#,
        r#"discovery_service_lookups_total{service_name="db",result="failure"} 1"#,
        r#"discovery_unhealthy_services{service_name="api"} 1"#,
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
}

// --- watches against a model

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

// --- counting wake-ups

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    /// Lets the watch wait, once it has read all there is.
    fn of(watch: &mut Watch) -> Arc<Self> {
        let wakes = Arc::new(Self::default());
        let waker = Arc::clone(&wakes).into();
        assert!(watch.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        wakes
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
