use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{HealthStatus, Host, Registration, Ttl};
use portolan_health::HealthConfig;
use portolan_registry::store::Memory;
use portolan_registry::{CommandOrigin, RegistryConfig, open_over};
use tokio_util::task::AbortOnDropHandle;

use super::*;

const SERVICES: usize = 16;
/// Generous, so that only a check that never runs fails.
const SOON: Duration = Duration::from_secs(20);

/// A server over a store that others share. Dropping it kills the server.
struct Server {
    registry: Registry,
    metrics: Metrics,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Server {
    fn start(store: Memory) -> Self {
        let metrics = Metrics::new();
        let feed = store.feed();
        let config = RegistryConfig::default();
        let (task, registry) = open_over(Arc::new(store), feed, &config, metrics.clone());
        let interval = Duration::from_millis(20);
        let config = HealthConfig { interval, ..HealthConfig::default() };
        let stop = CancellationToken::new();
        let monitor = {
            let metrics = metrics.clone();
            |events| HealthMonitor::new(config, metrics, events)
        };
        let checks = health(registry.clone(), vec![], monitor, ChannelTrust::Unsigned, stop);
        let tasks = [tokio::spawn(task.run(std::future::pending())), tokio::spawn(checks)];
        Self { registry, metrics, _tasks: tasks.map(AbortOnDropHandle::new) }
    }

    /// The services that this server has checked.
    fn checked(&self) -> Vec<usize> {
        let metrics = self.metrics.encode();
        let counter =
            |number| format!(r#"discovery_health_checks_total{{service_name="api-{number}","#);
        (0..SERVICES).filter(|number| metrics.contains(&counter(*number))).collect()
    }
}

async fn until(condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, polling).await.expect("in time");
}

#[tokio::test]
async fn exactly_one_server_checks_each_endpoint_and_another_takes_over() {
    let memory = Memory::new(&RegistryConfig::default()).unwrap();
    let first = Server::start(memory.join());
    let second = Server::start(memory);
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    for number in 0..SERVICES {
        let name = format!("api-{number}").parse().unwrap();
        let health_url = Some(format!("tcp://127.0.0.1:{port}"));
        // Of its own protocol, so that it displaces no other one from the address.
        let protocol = format!("p{number}").parse().unwrap();
        let service = Registration {
            health_url,
            protocol,
            ..Registration::new(name, Host::loopback(), port)
        };
        first.registry.register(service, CommandOrigin::local()).await.unwrap();
    }
    let passing = |endpoint: &Arc<ServiceEndpoint>| endpoint.health == HealthStatus::Passing;
    until(|| second.registry.list().iter().filter(|e| passing(e)).count() == SERVICES).await;
    let (ours, theirs) = (first.checked(), second.checked());
    assert!(!ours.is_empty() && !theirs.is_empty(), "{ours:?} {theirs:?}");
    assert_eq!(ours.len() + theirs.len(), SERVICES, "{ours:?} {theirs:?}");
    assert!(!ours.iter().any(|number| theirs.contains(number)), "{ours:?} {theirs:?}");

    drop(second);
    until(|| first.checked().len() == SERVICES).await;
}

/// Marks the only instance as a report does, and waits until it has this health again.
async fn recovers_to(server: &Server, health: HealthStatus) {
    let id = server.registry.list()[0].id.clone();
    server.registry.update_health(&id, portolan_health::refused_after_report()).await.unwrap();
    until(|| server.registry.get(&id).unwrap().health == health).await;
}

#[tokio::test]
async fn report_is_disproved_by_the_first_connection_that_is_accepted() {
    let server = Server::start(Memory::new(&RegistryConfig::default()).unwrap());
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    let mut service = Registration::new("api".parse().unwrap(), Host::loopback(), port);
    let (key, value) = portolan_core::endpoint::CHECKED_BY_AGENT;
    let by_agent = [(key.to_owned(), value.to_owned())];
    let by_registry = Some(format!("tcp://127.0.0.1:{port}"));
    for (metadata, health_url, recovered) in [
        (&[][..], None, HealthStatus::Unknown),
        (&by_agent, None, HealthStatus::Passing),
        (&[], by_registry, HealthStatus::Passing),
    ] {
        service.metadata = metadata.iter().cloned().collect();
        service.health_url = health_url;
        server.registry.register(service.clone(), CommandOrigin::local()).await.unwrap();
        // Its check does not report again what it has reported.
        for _ in 0..2 {
            recovers_to(&server, recovered).await;
        }
    }
}

fn endpoint(host: &str, health_url: &str) -> ServiceEndpoint {
    let host: Host = host.parse().unwrap();
    let mut registration = Registration::new("api".parse().unwrap(), host, 8080);
    registration.health_url = Some(health_url.to_owned());
    registration.into_endpoint(Ttl::DEFAULT, "2026-01-01T00:00:00Z".parse().unwrap())
}

#[test]
fn endpoint_is_checked_on_its_own_host_only() {
    for (host, url, expected) in [
        ("127.0.0.1", "http://127.0.0.1:8080/health", Some("http://127.0.0.1:8080/health")),
        ("127.0.0.1", "tcp://127.0.0.1:8080", Some("tcp://127.0.0.1:8080")),
        ("::1", "http://[::1]:8080/", Some("http://[::1]:8080/")),
        ("db.example.org", "http://DB.example.org/", Some("http://DB.example.org/")),
        ("127.0.0.1", "http://169.254.169.254/latest", None),
        ("127.0.0.1", "http://localhost@evil.example.org/", None),
        ("127.0.0.1", "file:///etc/passwd", None),
        (
            "127.0.0.1",
            "http://127.0.0.1/#status=200&interval=1m",
            Some("http://127.0.0.1/#status=200&interval=1m"),
        ),
        ("127.0.0.1", "http:/health", None),
        ("127.0.0.1", "ttl:15s", None),
        ("127.0.0.1", "not a url", None),
    ] {
        let check = check_of(&endpoint(host, url), ChannelTrust::Unsigned)
            .unwrap()
            .ok()
            .map(|check| check.to_string());
        assert_eq!(check.as_deref(), expected, "{url} of {host}");
    }
}

#[test]
fn unknown_scheme_is_a_reason_that_lists_the_known_ones() {
    let reason = |url: &str| {
        check_of(&endpoint("127.0.0.1", url), ChannelTrust::Unsigned).unwrap().unwrap_err()
    };
    let expected = "health_url: \"ftp://127.0.0.1/\" is not a health check; expected tcp";
    assert!(reason("ftp://127.0.0.1/").starts_with(expected), "{}", reason("ftp://127.0.0.1/"));
    assert!(reason("http://127.0.0.1/#intervall=5s").contains("\"intervall\" is not an option"));
    #[cfg(not(feature = "full"))]
    assert!(reason("https://127.0.0.1/").contains("TLS is not built into this version"));
}

#[test]
fn endpoint_that_its_agent_checks_is_not_checked() {
    let mut endpoint = endpoint("127.0.0.1", "http://127.0.0.1:8080/health");
    let (key, value) = portolan_core::endpoint::CHECKED_BY_AGENT;
    endpoint.metadata.insert(key.to_owned(), value.to_owned());
    for trust in [ChannelTrust::Unsigned, ChannelTrust::Signed] {
        assert_eq!(check_of(&endpoint, trust), None);
    }
    endpoint.source = Source::Broadcast;
    assert_eq!(check_of(&endpoint, ChannelTrust::Signed), None);
}

#[test]
fn unsigned_announcement_is_never_checked() {
    let mut endpoint = endpoint("127.0.0.1", "tcp://127.0.0.1:22");
    endpoint.source = Source::Broadcast;
    let reason = check_of(&endpoint, ChannelTrust::Unsigned).unwrap().unwrap_err();
    assert!(reason.contains("not signed; set broadcast.key"), "{reason}");
    assert!(check_of(&endpoint, ChannelTrust::Signed).unwrap().is_ok());
}
