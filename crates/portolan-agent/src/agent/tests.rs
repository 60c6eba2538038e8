mod fake_registry;
mod owners;

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use futures_util::StreamExt;
use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_broadcast::{AnnouncementListener, BroadcastConfig, Broadcaster, QueryMode};
use portolan_core::{Action, HealthStatus, Scope};
use portolan_health::HealthConfig;
use portolan_metrics::Metrics;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::*;
use fake_registry::{FakeRegistry, Mode, client_for};

/// The deadline of every wait: long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// The heartbeat interval of the tests.
const HEARTBEAT: Duration = Duration::from_millis(50);

fn registration(port: u16) -> Registration {
    // Not a loopback address, because the channel connects machines.
    Registration::new("api".parse().unwrap(), "10.0.0.1".parse().unwrap(), port)
}

fn local(port: u16) -> Registration {
    Registration { host: "127.0.0.1".parse().unwrap(), ..registration(port) }
}

/// A broadcast channel and the member that the agent uses.
struct Channel {
    network: MemoryNetwork,
    own: Broadcaster,
}

impl Channel {
    fn new() -> Self {
        let network = MemoryNetwork::new(1);
        let own = join(&network, 1);
        Self { network, own }
    }

    /// Returns the answers to a query from a new member of the channel.
    async fn query(&self) -> Vec<ServiceEndpoint> {
        let member = join(&self.network, 2);
        let name = "api".parse().unwrap();
        let wait = Duration::from_millis(300);
        let found = member.query(Some(&name), &[Scope::default()], wait, QueryMode::All).await;
        member.stop().await;
        found.unwrap()
    }
}

fn join(network: &MemoryNetwork, last: u8) -> Broadcaster {
    let transport = network.host(Ipv4Addr::new(10, 0, 0, last));
    Broadcaster::with_transport(transport, &BroadcastConfig::default(), Metrics::new()).unwrap()
}

async fn next_with(listener: &mut AnnouncementListener, action: Action) -> ServiceEndpoint {
    let found = async {
        loop {
            let received = listener.next().await.expect("the channel is open");
            if received.announcement.action == action {
                return received.announcement.service.clone();
            }
        }
    };
    timeout(SOON, found).await.unwrap_or_else(|_| panic!("{action} in time"))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, reached).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn agent_registers_sends_heartbeats_and_deregisters() {
    let registry = FakeRegistry::start().await;
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    assert_eq!(registry.services()[0].id, agent.id());
    assert_eq!(agent.endpoint().address(), "10.0.0.1:80");
    until("two heartbeats", || registry.requests("heartbeat") >= 2).await;
    assert_eq!(registry.requests("register"), 1);
    agent.stop().await;
    assert_eq!(registry.services(), []);
}

#[tokio::test]
async fn agent_announces_answers_queries_and_announces_deregistration() {
    let channel = Channel::new();
    let other = join(&channel.network, 3);
    let mut listener = other.listen();
    let agent = Agent::builder(registration(80))
        .broadcaster(channel.own.clone())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    assert_eq!(next_with(&mut listener, Action::Register).await.id, agent.id());
    next_with(&mut listener, Action::Heartbeat).await;
    assert_eq!(channel.query().await[0].id, agent.id());
    agent.stop().await;
    next_with(&mut listener, Action::Deregister).await;
    assert_eq!(channel.query().await, []);
}

#[tokio::test]
async fn check_results_reach_registry_and_watchers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let registry = FakeRegistry::start().await;
    let agent = Agent::builder(local(port))
        .registry(registry.client())
        .check("tcp".parse::<CheckSpec>().unwrap())
        .metrics(Metrics::new())
        .start()
        .await
        .unwrap();
    let registered = || registry.services()[0].clone();
    assert!(registered().is_checked_by_agent());
    assert_eq!(registered().health_url.as_deref(), Some(&*format!("tcp://127.0.0.1:{port}")));
    let mut health = agent.health();
    let passing = health.wait_for(|report| report.status == HealthStatus::Passing);
    timeout(SOON, passing).await.unwrap().unwrap();
    until("the registry is updated", || registered().health == HealthStatus::Passing).await;
    assert_eq!(agent.endpoint().health, HealthStatus::Passing);
    agent.stop().await;
}

#[tokio::test]
async fn agent_without_check_does_not_overwrite_health() {
    let registry = FakeRegistry::start().await;
    let start =
        || Agent::builder(registration(80)).registry(registry.client()).heartbeat(HEARTBEAT);
    let agent = start().start().await.unwrap();
    registry.put(ServiceEndpoint { health: HealthStatus::Warning, ..agent.endpoint() });
    let before = registry.requests("heartbeat");
    until("heartbeats", || registry.requests("heartbeat") >= before + 2).await;
    assert_eq!(registry.requests("health"), 0);
    assert_eq!(*agent.health().borrow(), HealthReport::default());
    agent.stop().await;
}

#[tokio::test]
async fn stale_health_in_registry_is_overwritten_at_start() {
    let registry = FakeRegistry::start().await;
    let builder = || Agent::builder(registration(80)).registry(registry.client());
    let former = builder().start().await.unwrap();
    registry.put(ServiceEndpoint { health: HealthStatus::Critical, ..former.endpoint() });
    drop(former);
    // Unknown until the service reports.
    let check: CheckSpec = "ttl:1h".parse().unwrap();
    let agent = builder().check(check).start().await.unwrap();
    assert_eq!(registry.services()[0].health, HealthStatus::Unknown);
    agent.report();
    until("the report arrives", || registry.services()[0].health == HealthStatus::Passing).await;
    agent.stop().await;
}

#[tokio::test]
async fn lost_registration_is_restored_with_its_health() {
    let registry = FakeRegistry::start().await;
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .check("ttl:1h".parse::<CheckSpec>().unwrap())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    agent.report();
    until("passing", || registry.services()[0].health == HealthStatus::Passing).await;
    registry.clear();
    let whole = || registry.services().first().is_some_and(|s| s.health == HealthStatus::Passing);
    until("registered again, with its health", whole).await;
    agent.stop().await;
}

#[tokio::test]
async fn service_is_registered_when_registry_becomes_reachable() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let channel = Channel::new();
    let agent = Agent::builder(registration(80))
        .registry(client_for(address))
        .broadcaster(channel.own.clone())
        .start()
        .await
        .unwrap();
    assert_eq!(channel.query().await[0].id, agent.id());
    let registry = FakeRegistry::start_at(address).await;
    until("registered", || !registry.services().is_empty()).await;
    agent.stop().await;
    assert_eq!(registry.services(), []);
}

#[tokio::test]
async fn agent_registers_again_after_registry_errors() {
    let registry = FakeRegistry::start().await;
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN] {
        registry.set_mode(Mode::Status(status));
        registry.clear();
        sleep(3 * HEARTBEAT).await;
        registry.set_mode(Mode::Normal);
        until("registered again", || !registry.services().is_empty()).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn permanent_registry_error_fails_the_start() {
    let registry = FakeRegistry::start().await;
    let channel = Channel::new();
    for status in [StatusCode::FORBIDDEN, StatusCode::UNPROCESSABLE_ENTITY] {
        registry.set_mode(Mode::Status(status));
        let started = Agent::builder(registration(80))
            .registry(registry.client())
            .broadcaster(channel.own.clone())
            .start()
            .await;
        assert!(matches!(started, Err(AgentError::Registry(_))), "{started:?}");
        assert_eq!(channel.query().await, [], "announced despite the error");
    }
}

#[tokio::test]
async fn unreachable_registry_or_channel_does_not_fail_the_start() {
    let unpublished = Agent::builder(registration(80)).start().await.unwrap_err();
    assert!(matches!(unpublished, AgentError::NoPublishTarget { .. }), "{unpublished}");

    let registry = FakeRegistry::start().await;
    let channel = Channel::new();
    channel.own.stop().await;
    for silent in [None, Some(channel.own.clone())] {
        registry.set_mode(Mode::Status(StatusCode::SERVICE_UNAVAILABLE));
        let builder = Agent::builder(registration(80)).registry(registry.client());
        let agent = builder.broadcaster(silent).heartbeat(HEARTBEAT).start().await.unwrap();
        registry.set_mode(Mode::Normal);
        until("the registration", || !registry.services().is_empty()).await;
        agent.stop().await;
    }
    let silent = Agent::builder(registration(80)).broadcaster(channel.own.clone());
    silent.start().await.unwrap().stop().await;
}

#[tokio::test]
async fn invalid_registration_is_rejected_without_a_request() {
    let registry = FakeRegistry::start().await;
    let started = Agent::builder(registration(0)).registry(registry.client()).start().await;
    assert!(matches!(started, Err(AgentError::Invalid(_))), "{started:?}");
    assert_eq!(registry.requests("register"), 0);
}

#[tokio::test]
async fn update_reaches_registry_and_channel() {
    let registry = FakeRegistry::start().await;
    let channel = Channel::new();
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .broadcaster(channel.own.clone())
        .start()
        .await
        .unwrap();
    let other = join(&channel.network, 3);
    let mut listener = other.listen();
    let newer = Registration { version: "2.0".into(), ..registration(80) };
    agent.update(newer).unwrap();
    assert_eq!(next_with(&mut listener, Action::Update).await.version, "2.0");
    until("the registry is updated", || registry.services()[0].version == "2.0").await;
    assert_eq!(agent.endpoint().version, "2.0");

    let other = agent.update(registration(81)).unwrap_err();
    assert!(matches!(other, AgentError::OtherInstance { .. }), "{other}");
    assert!(matches!(agent.update(registration(0)), Err(AgentError::Invalid(_))));
    agent.stop().await;
}

#[tokio::test]
async fn instance_with_explicit_id_can_change_its_port() {
    let registry = FakeRegistry::start().await;
    let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = |port| Registration { id: Some("api-1".parse().unwrap()), ..local(port) };
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let agent = Agent::builder(at(gone.local_addr().unwrap().port()))
        .registry(registry.client())
        .check("tcp".parse::<CheckSpec>().unwrap())
        .start()
        .await
        .unwrap();
    drop(gone);
    let port = here.local_addr().unwrap().port();
    agent.update(at(port)).unwrap();
    let moved = || {
        let registered = registry.services()[0].clone();
        registered.port == port && registered.health == HealthStatus::Passing
    };
    until("registered as passing at the new port", moved).await;
    agent.stop().await;
}

#[tokio::test]
async fn unresponsive_registry_delays_neither_announcements_nor_stop() {
    let registry = FakeRegistry::start().await;
    let channel = Channel::new();
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .broadcaster(channel.own.clone())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    registry.set_mode(Mode::Silent);
    let other = join(&channel.network, 3);
    let mut listener = other.listen();
    for _ in 0..3 {
        next_with(&mut listener, Action::Heartbeat).await;
    }
    timeout(SOON, agent.stop()).await.expect("stopped although the registry does not answer");
    next_with(&mut listener, Action::Deregister).await;
}

#[tokio::test]
async fn dropped_agent_stops_answering_and_does_not_deregister() {
    let registry = FakeRegistry::start().await;
    let channel = Channel::new();
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .broadcaster(channel.own.clone())
        .start()
        .await
        .unwrap();
    assert!(format!("{agent:?}").contains("api@10.0.0.1:80"));
    assert_eq!(channel.query().await[0].id, agent.id());
    drop(agent);
    let gone = async { while !channel.query().await.is_empty() {} };
    timeout(SOON, gone).await.expect("no longer published");
    assert_eq!(registry.requests("deregister"), 0);
}

#[tokio::test]
async fn service_that_stays_critical_is_withdrawn_until_it_is_passing() {
    let (registry, channel) = (FakeRegistry::start().await, Channel::new());
    let other = join(&channel.network, 3);
    let mut listener = other.listen();
    let status = std::sync::Arc::new(parking_lot::Mutex::new(HealthStatus::Passing));
    let shown = std::sync::Arc::clone(&status);
    let check = CheckSpec::from_fn("queue", move || {
        std::future::ready(HealthReport::new(*shown.lock(), "as told"))
    });
    let health = HealthConfig {
        interval: Duration::from_millis(20),
        deregister_critical_after: Some(Duration::from_millis(200)),
        ..HealthConfig::default()
    };
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .broadcaster(channel.own.clone())
        .heartbeat(HEARTBEAT)
        .check(check)
        .health(health)
        .start()
        .await
        .unwrap();
    next_with(&mut listener, Action::Register).await;
    let is = |expected| {
        let services = registry.services();
        services.first().is_some_and(|service| service.health == expected)
    };
    until("it is passing", || is(HealthStatus::Passing)).await;
    for _ in 0..2 {
        *status.lock() = HealthStatus::Critical;
        next_with(&mut listener, Action::Deregister).await;
        until("it is deregistered", || registry.services().is_empty()).await;
        // The program still runs, so its agent goes on checking it.
        *status.lock() = HealthStatus::Passing;
        next_with(&mut listener, Action::Register).await;
        until("it is registered again", || is(HealthStatus::Passing)).await;
    }
    *status.lock() = HealthStatus::Critical;
    next_with(&mut listener, Action::Deregister).await;
    agent.stop().await;
    assert_eq!(registry.services(), []);
}
