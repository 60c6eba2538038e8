use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake};

use futures_util::{FutureExt, StreamExt, poll};
use portolan_core::{Change, HealthStatus, ServiceEvent, Source, Ttl};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::store::Memory;
use crate::store::suite::registration;

mod event_streams;
mod leases;
mod load;
mod mass_expiry;
mod remote_store;
mod restart;

struct Running {
    registry: Registry,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn spawn(task: RegistryTask, registry: Registry, metrics: Metrics) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(task.run(stopped.map(drop)));
        Self { registry, metrics, stop, task }
    }
}

fn start(config: &RegistryConfig) -> Running {
    start_at(config, jiff::Timestamp::now())
}

/// Starts a registry at this time of day.
fn start_at(config: &RegistryConfig, now: jiff::Timestamp) -> Running {
    let metrics = Metrics::new();
    let store = Memory::started(config, now).unwrap();
    let feed = store.feed();
    let (task, registry) = open_over(Arc::new(store), feed, config, metrics.clone());
    Running::spawn(task, registry, metrics)
}

async fn next(watch: &mut EventStream) -> Arc<ServiceEvent> {
    let event = timeout(Duration::from_secs(3600), watch.next()).await;
    event.expect("no event").expect("the watch ended")
}

fn brief(name: &str, port: u16) -> Registration {
    Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration(name, port) }
}

#[tokio::test(start_paused = true)]
async fn read_after_write_shows_the_write() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let registered =
        registry.register(registration("api", 1), CommandOrigin::local()).await.unwrap();
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
async fn batch_returns_an_outcome_for_each_command_in_order() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let api = registration("api", 1);
    let commands = vec![
        Command::Heartbeat(api.id().into()),
        Command::Register(api.clone()),
        Command::Heartbeat(api.id().into()),
        Command::Deregister(api.id().into()),
    ];
    let outcomes = registry.apply(commands, CommandOrigin::local()).await;
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
async fn watch_receives_every_change_once_and_in_order() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let mut watch = registry.watch(WatchQuery::default());
    assert!(
        matches!(&next(&mut watch).await.change, Change::Snapshot { endpoints, .. } if endpoints.is_empty())
    );
    let id = registry
        .register(brief("api", 1), CommandOrigin::local())
        .await
        .unwrap()
        .endpoint
        .id
        .clone();
    registry
        .register(Registration { version: "2".into(), ..brief("api", 1) }, CommandOrigin::local())
        .await
        .unwrap();
    registry.update_health(&id, HealthReport::new(HealthStatus::Passing, "")).await.unwrap();
    registry.heartbeat(&id).await.unwrap();
    registry.deregister(&id).await.unwrap();
    registry.register(brief("api", 1), CommandOrigin::local()).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&"expired") {
        seen.push(next(&mut watch).await.change.kind());
    }
    assert_eq!(seen, ["registered", "updated", "health", "deregistered", "registered", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn watch_is_not_woken_by_other_services_or_scopes() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let names = vec!["api".parse().unwrap(), "api".parse().unwrap()];
    let scopes = vec!["shop".parse().unwrap()];
    let mut watch = registry.watch(WatchQuery { names, scopes, from: None });
    next(&mut watch).await;
    let waiting = Wakes::poll(&mut watch);
    assert_eq!(waiting.count(), 0);
    registry.register(registration("db", 1), CommandOrigin::local()).await.unwrap();
    registry.register(registration("api", 2), CommandOrigin::local()).await.unwrap();
    assert_eq!(waiting.count(), 0, "another name, and another scope");
    let ours = Registration { scope: "shop".parse().unwrap(), ..registration("api", 3) };
    registry.register(ours, CommandOrigin::local()).await.unwrap();
    assert_eq!(waiting.count(), 1);
    assert_eq!(next(&mut watch).await.change.endpoint().unwrap().port, 3);
}

#[tokio::test(start_paused = true)]
async fn watch_that_falls_behind_continues_with_a_snapshot() {
    let running = start(&RegistryConfig { history: 3, ..Default::default() });
    let registry = &running.registry;
    let mut watch = registry.watch(WatchQuery::default());
    next(&mut watch).await;
    for port in 1..=10 {
        registry.register(registration("api", port), CommandOrigin::local()).await.unwrap();
    }
    let caught_up = next(&mut watch).await;
    assert!(
        matches!(&caught_up.change, Change::Snapshot { endpoints, .. } if endpoints.len() == 10)
    );
    registry.register(registration("api", 11), CommandOrigin::local()).await.unwrap();
    let event = next(&mut watch).await;
    assert_eq!((event.change.kind(), event.revision.0), ("registered", caught_up.revision.0 + 1));
}

#[tokio::test(start_paused = true)]
async fn registry_is_incomplete_until_every_service_had_time_to_register_again() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    for incomplete in [true, false] {
        assert_eq!(registry.is_incomplete(), incomplete);
        let mut watch = registry.watch(WatchQuery::default());
        let snapshot = next(&mut watch).await.change.clone();
        assert_eq!(snapshot, Change::Snapshot { endpoints: Vec::new(), incomplete });
        // Half of the default TTL.
        tokio::time::advance(Duration::from_secs(30)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn incomplete_snapshot_is_followed_by_a_complete_one() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let mut watch = registry.watch(WatchQuery::default());
    next(&mut watch).await;
    let api = registry.register(registration("api", 1), CommandOrigin::local()).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    let endpoints = vec![api.endpoint];
    let complete = Change::Snapshot { endpoints, incomplete: false };
    assert_eq!(next(&mut watch).await.change, complete);
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_pending_commands_and_ends_watches() {
    let Running { registry, stop, task, .. } = start(&RegistryConfig::default());
    assert_eq!(registry.status(), RegistryStatus::Loading);
    let mut watch = registry.watch(WatchQuery::default());
    next(&mut watch).await;
    assert!(registry.is_ready());
    // Sent before the shutdown, answered after it began.
    let client = registry.clone();
    let mut early = Box::pin(client.register(registration("api", 1), CommandOrigin::local()));
    assert!(poll!(&mut early).is_pending());
    drop(stop);
    assert!(early.await.unwrap().created);
    task.await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert!(watch.next().await.is_none());
    assert_eq!(registry.status(), RegistryStatus::Closed);
    let late = registry.register(registration("api", 2), CommandOrigin::local()).await;
    assert_eq!(late, Err(RegistryError::Closed));
}

#[tokio::test(start_paused = true)]
async fn commands_fail_at_their_deadline_if_the_task_does_not_run() {
    let (task, registry) = open(&RegistryConfig::default(), Metrics::new()).unwrap();
    let error =
        registry.register(registration("api", 1), CommandOrigin::local()).await.unwrap_err();
    assert_eq!(error, RegistryError::Busy(ANSWER_WITHIN));
    let mut watch = registry.watch(WatchQuery::default());
    assert!(poll!(watch.next()).is_pending());
    drop(task);
    assert!(watch.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn announcements_are_imported_by_their_action() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    for action in [Action::Register, Action::Update, Action::Heartbeat] {
        let imported =
            import(registry, &announcement(action, &announced_endpoint())).await.unwrap();
        assert!(matches!(imported, CommandOutcome::Registered(Registered { created: true, .. })));
        assert!(registry.get(&announced_endpoint().id).is_some());
        import(registry, &announcement(Action::Deregister, &announced_endpoint())).await.unwrap();
        assert!(registry.get(&announced_endpoint().id).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn announced_health_counts_if_it_is_signed_and_the_agent_checks_it() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let mut service = announced_endpoint();
    service.health = HealthStatus::Critical;
    service.health_reason = "refused".into();
    let (key, value) = portolan_core::endpoint::CHECKED_BY_AGENT;
    let heartbeat = |service: &ServiceEndpoint| announcement(Action::Heartbeat, service);
    registry.import(&heartbeat(&service), SENDER, true).await.unwrap();
    let unknown = registry.get(&service.id).unwrap();
    assert_eq!(unknown.health, HealthStatus::Unknown, "the registry checks it");

    service.metadata.insert(key, value);
    registry.import(&heartbeat(&service), SENDER, false).await.unwrap();
    let unsigned = registry.get(&service.id).unwrap();
    assert_eq!(unsigned.health, HealthStatus::Unknown, "anyone can announce it");

    registry.import(&heartbeat(&service), SENDER, true).await.unwrap();
    let reported = registry.get(&service.id).unwrap();
    assert_eq!((reported.health, &*reported.health_reason), (HealthStatus::Critical, "refused"));
    let mut watch =
        registry.watch(WatchQuery { from: Some(reported.revision), ..WatchQuery::default() });
    registry.import(&heartbeat(&service), SENDER, true).await.unwrap();
    assert!(watch.next().now_or_never().is_none(), "the same report is not a change");

    // A health report through the API is not changed by the agent's announcements.
    registry.register(service.clone().into(), CommandOrigin::local()).await.unwrap();
    registry.update_health(&service.id, HealthReport::default()).await.unwrap();
    let refused = registry.import(&heartbeat(&service), SENDER, true).await;
    assert_eq!(refused, Err(RegistryError::RegisteredByApi { id: service.id.clone() }));
    assert_eq!(registry.get(&service.id).unwrap().health, HealthStatus::Unknown);
}

#[tokio::test(start_paused = true)]
async fn announced_loopback_addresses_of_another_host_are_left_out() {
    let running = start(&RegistryConfig::default());
    let mut service = announced_endpoint();
    service.host = "10.0.0.99".parse().unwrap();
    service.addresses = ["127.0.0.1", "fd00::99"].map(|host| host.parse().unwrap()).into();
    import(&running.registry, &announcement(Action::Register, &service)).await.unwrap();
    let imported = running.registry.get(&service.id).unwrap();
    assert_eq!(imported.addresses, service.addresses[1..]);
    assert_eq!(imported.source, Source::Broadcast);
}

#[tokio::test(start_paused = true)]
async fn announcements_do_not_renew_a_registration_and_count_after_it_expired() {
    let running = start(&RegistryConfig::default());
    let registry = &running.registry;
    let service = announced_endpoint();
    let owner = registry.register(brief("api", 1), CommandOrigin::local()).await.unwrap();
    let mut watch =
        registry.watch(WatchQuery { from: Some(owner.endpoint.revision), ..WatchQuery::default() });
    // Announcements do not renew the lease of what registered through the API.
    for _ in 0..4 {
        let refused = import(registry, &announcement(Action::Heartbeat, &service)).await;
        assert_eq!(refused, Err(RegistryError::RegisteredByApi { id: service.id.clone() }));
        tokio::time::sleep(Ttl::MIN / 4).await;
    }
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    import(registry, &announcement(Action::Heartbeat, &service)).await.unwrap();
    assert_eq!(next(&mut watch).await.change.kind(), "registered");
    assert_eq!(next(&mut watch).await.change.kind(), "expired");
    assert_eq!(registry.list(), []);
}

/// The address that announcements come from.
const SENDER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 99));

async fn import(
    registry: &Registry,
    announcement: &ServiceAnnouncement,
) -> Result<CommandOutcome, RegistryError> {
    registry.import(announcement, SENDER, false).await
}

fn announced_endpoint() -> ServiceEndpoint {
    registration("api", 1).into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH)
}

fn announcement(action: Action, service: &ServiceEndpoint) -> ServiceAnnouncement {
    ServiceAnnouncement { action, service: service.clone(), in_reply_to: None }
}

#[tokio::test(start_paused = true)]
async fn metrics_count_registrations_deregistrations_lookups_and_unhealthy_instances() {
    let running = start(&RegistryConfig::default());
    let Running { registry, metrics, .. } = &running;
    let first = registry.register(registration("api", 1), CommandOrigin::local()).await.unwrap();
    registry.register(brief("api", 2), CommandOrigin::local()).await.unwrap();
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

/// Counts wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    /// Polls a watch that has read everything.
    fn poll(watch: &mut EventStream) -> Arc<Self> {
        let wakes = Arc::new(Self::default());
        let waker = Arc::clone(&wakes).into();
        assert!(watch.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        wakes
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// The status is asked for by other threads than the one that applies the feed.
#[test]
fn status_is_answered_while_changes_are_shown() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (done, is_done) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        let running = start(&RegistryConfig::default());
        let service = registration("api", 8080);
        running.registry.register(service.clone(), CommandOrigin::local()).await.unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        for _ in 0..2 {
            let (registry, stop) = (running.registry.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(registry.status(), RegistryStatus::Ready);
                }
            });
        }
        for _ in 0..5000 {
            running.registry.heartbeat(service.id()).await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        done.send(()).unwrap();
    });
    let answered = is_done.recv_timeout(Duration::from_secs(60));
    // Threads that wait for each other would not end.
    runtime.shutdown_background();
    answered.expect("the status was not answered");
}
