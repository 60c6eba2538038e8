use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use futures_util::{FutureExt, StreamExt, poll};
use portolan_core::{Change, HealthStatus, ServiceEvent, Ttl};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::store::suite::registration;

mod event_streams;
mod leases;
mod load;

struct Running {
    registry: Registry,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    writer: JoinHandle<()>,
}

fn start(config: &RegistryConfig) -> Running {
    start_at(config, jiff::Timestamp::now())
}

/// A registry that takes this for the time at which it starts.
fn start_at(config: &RegistryConfig, now: jiff::Timestamp) -> Running {
    let metrics = Metrics::new();
    let store = Memory::started(config, now).unwrap();
    let (writer, registry) = open_over(store, config, metrics.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let writer = tokio::spawn(writer.run(stopped.map(drop)));
    Running { registry, metrics, stop, writer }
}

async fn next(watch: &mut EventStream) -> Arc<ServiceEvent> {
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
    let registered = registry.register(registration("api", 1), Origin::local()).await.unwrap();
    let id = &registered.endpoint.id;
    assert_eq!(registry.get(id), Some(Arc::clone(&registered.endpoint)));
    assert_eq!(registry.list(), [Arc::clone(&registered.endpoint)]);

    let report = HealthReport::new(HealthStatus::Warning, "slow");
    registry.update_health(id, report).await.unwrap();
    let (found, revision) = registry.lookup(&Query::for_service("api".parse().unwrap()));
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
    let outcomes = registry.apply(commands, Origin::local()).await;
    assert_eq!(outcomes[0], Err(RegistryError::Unknown { id: api.id() }));
    assert!(matches!(
        outcomes[1],
        Ok(CommandOutcome::Registered(Registered { created: true, .. }))
    ));
    assert_eq!(outcomes[2], Ok(CommandOutcome::Renewed));
    assert!(matches!(outcomes[3], Ok(CommandOutcome::Deregistered { .. })));
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
    let id = registry.register(brief("api", 1), Origin::local()).await.unwrap().endpoint.id.clone();
    registry
        .register(Registration { version: "2".into(), ..brief("api", 1) }, Origin::local())
        .await
        .unwrap();
    registry.update_health(&id, HealthReport::new(HealthStatus::Passing, "")).await.unwrap();
    registry.heartbeat(&id).await.unwrap();
    registry.deregister(&id).await.unwrap();
    registry.register(brief("api", 1), Origin::local()).await.unwrap();
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
    registry.register(registration("db", 1), Origin::local()).await.unwrap();
    registry.register(registration("api", 2), Origin::local()).await.unwrap();
    assert_eq!(waiting.count(), 0, "another name, and another scope");
    let ours = Registration { scope: "shop".parse().unwrap(), ..registration("api", 3) };
    registry.register(ours, Origin::local()).await.unwrap();
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
        registry.register(registration("api", port), Origin::local()).await.unwrap();
    }
    let caught_up = next(&mut watch).await;
    assert!(matches!(&caught_up.change, Change::Snapshot { endpoints } if endpoints.len() == 10));
    registry.register(registration("api", 11), Origin::local()).await.unwrap();
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
    let mut early = Box::pin(asked.register(registration("api", 1), Origin::local()));
    assert!(poll!(&mut early).is_pending());
    drop(stop);
    assert!(early.await.unwrap().created);
    writer.await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert!(watch.next().await.is_none());
    assert!(!registry.is_ready());
    let late = registry.register(registration("api", 2), Origin::local()).await;
    assert_eq!(late, Err(RegistryError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_does_not_write_is_not_waited_for_forever() {
    let (writer, registry) = open(&RegistryConfig::default(), Metrics::new()).unwrap();
    let error = registry.register(registration("api", 1), Origin::local()).await.unwrap_err();
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
    for action in [Action::Register, Action::Update, Action::Heartbeat] {
        let heard = registry.import(&hear(action, &heard_endpoint())).await.unwrap();
        assert!(matches!(heard, CommandOutcome::Registered(Registered { created: true, .. })));
        assert!(registry.get(&heard_endpoint().id).is_some());
        registry.import(&hear(Action::Deregister, &heard_endpoint())).await.unwrap();
        assert!(registry.get(&heard_endpoint().id).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_agent_of_an_instance_tells_its_health_by_broadcast() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let mut service = heard_endpoint();
    service.health = HealthStatus::Critical;
    service.health_reason = "refused".into();
    registry.import(&hear(Action::Heartbeat, &service)).await.unwrap();
    let unknown = registry.get(&service.id).unwrap();
    assert_eq!(unknown.health, HealthStatus::Unknown, "the registry looks for itself");

    let (key, value) = portolan_core::endpoint::CHECKED_BY_AGENT;
    service.metadata.insert(key.into(), value.into());
    registry.import(&hear(Action::Update, &service)).await.unwrap();
    let told = registry.get(&service.id).unwrap();
    assert_eq!((told.health, &*told.health_reason), (HealthStatus::Critical, "refused"));
    let mut watch =
        registry.watch(WatchQuery { from: Some(told.revision), ..WatchQuery::default() });
    registry.import(&hear(Action::Heartbeat, &service)).await.unwrap();
    assert!(watch.next().now_or_never().is_none(), "the same again is no change");

    // What the owner says by the API is not altered by a rumour of its agent.
    registry.register(service.clone().into(), Origin::local()).await.unwrap();
    registry.update_health(&service.id, HealthReport::default()).await.unwrap();
    let refused = registry.import(&hear(Action::Heartbeat, &service)).await;
    assert_eq!(refused, Err(RegistryError::RegisteredByApi { id: service.id.clone() }));
    assert_eq!(registry.get(&service.id).unwrap().health, HealthStatus::Unknown);
}

#[tokio::test(start_paused = true)]
async fn hearsay_ends_with_its_own_lease_and_may_speak_again_once_the_owner_is_gone() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let service = heard_endpoint();
    let owner = registry.register(brief("api", 1), Origin::local()).await.unwrap();
    let mut watch =
        registry.watch(WatchQuery { from: Some(owner.endpoint.revision), ..WatchQuery::default() });
    // However often it is heard, it does not keep alive what registered by the API.
    for _ in 0..4 {
        let refused = registry.import(&hear(Action::Heartbeat, &service)).await;
        assert_eq!(refused, Err(RegistryError::RegisteredByApi { id: service.id.clone() }));
        tokio::time::sleep(Ttl::MIN / 4).await;
    }
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    registry.import(&hear(Action::Heartbeat, &service)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    assert_eq!(registry.list(), []);
}

fn heard_endpoint() -> ServiceEndpoint {
    registration("api", 1).into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH)
}

fn hear(action: Action, service: &ServiceEndpoint) -> ServiceAnnouncement {
    ServiceAnnouncement { action, service: service.clone(), in_reply_to: None }
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_how_many_came_went_were_looked_up_and_are_unwell() {
    let running = start(&RegistryConfig::default());
    let Running { registry, metrics, .. } = &running;
    let first = registry.register(registration("api", 1), Origin::local()).await.unwrap();
    registry.register(brief("api", 2), Origin::local()).await.unwrap();
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
    fn of(watch: &mut EventStream) -> Arc<Self> {
        let wakes = Arc::new(Self::default());
        let waker = Arc::clone(&wakes).into();
        assert!(watch.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        wakes
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
