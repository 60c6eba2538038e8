mod fake_registry;

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use futures_util::StreamExt;
use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_broadcast::{AnnouncementListener, BroadcastConfig, Broadcaster, QueryMode};
use portolan_core::{Action, HealthStatus, Scope};
use portolan_metrics::Metrics;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::*;
use fake_registry::{FakeRegistry, Mode, client_of};

/// Generous, so that only what hangs for ever fails.
const SOON: Duration = Duration::from_secs(20);
/// Short, so that tests need not wait for it.
const HEARTBEAT: Duration = Duration::from_millis(50);

fn registration(port: u16) -> Registration {
    // An address of the network and not loopback: the channel is one between machines.
    Registration::new("api".parse().unwrap(), "10.0.0.1".parse().unwrap(), port)
}

fn local(port: u16) -> Registration {
    Registration { host: "127.0.0.1".parse().unwrap(), ..registration(port) }
}

/// A channel between machines: the service's, and others.
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

    /// What a machine that has heard nothing yet finds.
    async fn asked(&self) -> Vec<ServiceEndpoint> {
        let newcomer = join(&self.network, 2);
        let name = "api".parse().unwrap();
        let wait = Duration::from_millis(300);
        let found = newcomer.query(Some(&name), &[Scope::default()], wait, QueryMode::All).await;
        newcomer.stop().await;
        found.unwrap()
    }
}

fn join(network: &MemoryNetwork, last: u8) -> Broadcaster {
    let transport = network.host(Ipv4Addr::new(10, 0, 0, last));
    Broadcaster::with_transport(transport, &BroadcastConfig::default(), Metrics::new()).unwrap()
}

async fn heard(listener: &mut AnnouncementListener, action: Action) -> ServiceEndpoint {
    let found = async {
        loop {
            let heard = listener.next().await.expect("the channel is open");
            if heard.announcement.action == action {
                return heard.announcement.service.clone();
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
async fn a_service_is_registered_kept_alive_and_taken_out() {
    let registry = FakeRegistry::start().await;
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    assert_eq!(registry.services()[0].id, agent.id());
    assert_eq!(agent.endpoint().address(), "10.0.0.1:80");
    until("two heartbeats", || registry.asked("heartbeat") >= 2).await;
    assert_eq!(registry.asked("register"), 1);
    agent.stop().await;
    assert_eq!(registry.services(), []);
}

#[tokio::test]
async fn a_service_is_announced_answers_queries_and_says_good_bye() {
    let channel = Channel::new();
    let other = join(&channel.network, 3);
    let mut listener = other.listen();
    let agent = Agent::builder(registration(80))
        .broadcaster(channel.own.clone())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    assert_eq!(heard(&mut listener, Action::Register).await.id, agent.id());
    heard(&mut listener, Action::Heartbeat).await;
    assert_eq!(channel.asked().await[0].id, agent.id());
    agent.stop().await;
    heard(&mut listener, Action::Deregister).await;
    assert_eq!(channel.asked().await, []);
}

#[tokio::test]
async fn health_reaches_registry_channel_and_watchers() {
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
    let entered = || registry.services()[0].clone();
    assert!(entered().is_checked_by_agent());
    assert_eq!(entered().health_url.as_deref(), Some(&*format!("tcp://127.0.0.1:{port}")));
    let mut health = agent.health();
    let passing = health.wait_for(|report| report.status == HealthStatus::Passing);
    timeout(SOON, passing).await.unwrap().unwrap();
    until("the registry knows", || entered().health == HealthStatus::Passing).await;
    assert_eq!(agent.endpoint().health, HealthStatus::Passing);
    agent.stop().await;
}

#[tokio::test]
async fn health_left_to_others_is_not_contradicted() {
    let registry = FakeRegistry::start().await;
    let start =
        || Agent::builder(registration(80)).registry(registry.client()).heartbeat(HEARTBEAT);
    let agent = start().start().await.unwrap();
    registry.put(ServiceEndpoint { health: HealthStatus::Warning, ..agent.endpoint() });
    let before = registry.asked("heartbeat");
    until("heartbeats", || registry.asked("heartbeat") >= before + 2).await;
    assert_eq!(registry.asked("health"), 0);
    assert_eq!(*agent.health().borrow(), HealthReport::default());
    agent.stop().await;
}

#[tokio::test]
async fn what_the_registry_believed_of_a_former_life_is_put_right() {
    let registry = FakeRegistry::start().await;
    let builder = || Agent::builder(registration(80)).registry(registry.client());
    let former = builder().start().await.unwrap();
    registry.put(ServiceEndpoint { health: HealthStatus::Critical, ..former.endpoint() });
    drop(former);
    // Nothing is known yet: nobody has reported.
    let check: CheckSpec = "ttl:1h".parse().unwrap();
    let agent = builder().check(check).start().await.unwrap();
    assert_eq!(registry.services()[0].health, HealthStatus::Unknown);
    agent.report();
    until("the report arrives", || registry.services()[0].health == HealthStatus::Passing).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_registry_that_forgot_everything_is_whole_after_one_heartbeat() {
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
    registry.forget();
    let whole = || registry.services().first().is_some_and(|s| s.health == HealthStatus::Passing);
    until("registered again, with its health", whole).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_registry_that_is_down_is_told_when_it_comes_up() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let channel = Channel::new();
    let agent = Agent::builder(registration(80))
        .registry(client_of(address))
        .broadcaster(channel.own.clone())
        .start()
        .await
        .unwrap();
    assert_eq!(channel.asked().await[0].id, agent.id());
    let registry = FakeRegistry::start_at(address).await;
    until("registered", || !registry.services().is_empty()).await;
    agent.stop().await;
    assert_eq!(registry.services(), []);
}

#[tokio::test]
async fn a_registry_that_stumbles_is_kept_in_step_afterwards() {
    let registry = FakeRegistry::start().await;
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN] {
        registry.set(Mode::Answers(status));
        registry.forget();
        sleep(3 * HEARTBEAT).await;
        registry.set(Mode::Good);
        until("registered again", || !registry.services().is_empty()).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn what_trying_again_cannot_mend_is_an_error_at_once() {
    let registry = FakeRegistry::start().await;
    let channel = Channel::new();
    for status in [StatusCode::FORBIDDEN, StatusCode::UNPROCESSABLE_ENTITY] {
        registry.set(Mode::Answers(status));
        let started = Agent::builder(registration(80))
            .registry(registry.client())
            .broadcaster(channel.own.clone())
            .start()
            .await;
        assert!(matches!(started, Err(AgentError::Registry(_))), "{started:?}");
        assert_eq!(channel.asked().await, [], "it was announced all the same");
    }
}

#[tokio::test]
async fn somebody_must_know_of_the_service() {
    let nobody = Agent::builder(registration(80)).start().await.unwrap_err();
    assert!(matches!(nobody, AgentError::NoPublishTarget { .. }), "{nobody}");
    assert!(nobody.to_string().contains("neither a registry nor a broadcast channel"));

    let registry = FakeRegistry::start().await;
    registry.set(Mode::Answers(StatusCode::SERVICE_UNAVAILABLE));
    let alone = Agent::builder(registration(80)).registry(registry.client()).start().await;
    assert!(matches!(alone, Err(AgentError::Registry(ref error)) if error.is_temporary()));

    let channel = Channel::new();
    channel.own.stop().await;
    let silent = || Agent::builder(registration(80)).broadcaster(channel.own.clone());
    assert!(matches!(silent().start().await, Err(AgentError::Announce(_))));
    let neither = silent().registry(registry.client()).start().await;
    assert!(matches!(neither, Err(AgentError::Registry(_))));

    registry.set(Mode::Good);
    let enough = silent().registry(registry.client()).heartbeat(HEARTBEAT).start().await.unwrap();
    until("it lives on", || registry.asked("heartbeat") >= 2).await;
    enough.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_before_anybody_is_told() {
    let registry = FakeRegistry::start().await;
    let started = Agent::builder(registration(0)).registry(registry.client()).start().await;
    assert!(matches!(started, Err(AgentError::Invalid(_))), "{started:?}");
    assert_eq!(registry.asked("register"), 0);
}

#[tokio::test]
async fn an_update_reaches_registry_and_channel() {
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
    assert_eq!(heard(&mut listener, Action::Update).await.version, "2.0");
    until("the registry knows", || registry.services()[0].version == "2.0").await;
    assert_eq!(agent.endpoint().version, "2.0");

    let other = agent.update(registration(81)).unwrap_err();
    assert!(matches!(other, AgentError::OtherInstance { .. }), "{other}");
    assert!(matches!(agent.update(registration(0)), Err(AgentError::Invalid(_))));
    agent.stop().await;
}

#[tokio::test]
async fn a_service_with_an_id_of_its_own_may_move() {
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
        let entered = registry.services()[0].clone();
        entered.port == port && entered.health == HealthStatus::Passing
    };
    until("it is found, and well, at its new place", moved).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_silent_registry_delays_neither_the_channel_nor_the_end() {
    let registry = FakeRegistry::start().await;
    let channel = Channel::new();
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .broadcaster(channel.own.clone())
        .heartbeat(HEARTBEAT)
        .start()
        .await
        .unwrap();
    registry.set(Mode::Silent);
    let other = join(&channel.network, 3);
    let mut listener = other.listen();
    for _ in 0..3 {
        heard(&mut listener, Action::Heartbeat).await;
    }
    timeout(SOON, agent.stop()).await.expect("it stops although the registry says nothing");
    heard(&mut listener, Action::Deregister).await;
}

#[tokio::test]
async fn a_dropped_agent_answers_no_more_and_says_good_bye_to_nobody() {
    let registry = FakeRegistry::start().await;
    let channel = Channel::new();
    let agent = Agent::builder(registration(80))
        .registry(registry.client())
        .broadcaster(channel.own.clone())
        .start()
        .await
        .unwrap();
    assert!(format!("{agent:?}").contains("api@10.0.0.1:80"));
    assert_eq!(channel.asked().await[0].id, agent.id());
    drop(agent);
    let gone = async { while !channel.asked().await.is_empty() {} };
    timeout(SOON, gone).await.expect("it is held no more");
    assert_eq!(registry.asked("deregister"), 0);
}
