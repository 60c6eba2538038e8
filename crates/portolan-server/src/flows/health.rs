//! Health checks of the endpoints that this server owns and that name a health URL.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use portolan_core::{Change, HealthReport, HealthStatus, ServiceEndpoint, ServiceId};
use portolan_health::{CheckSpec, HealthConfig, HealthMonitor};
use portolan_metrics::Metrics;
use portolan_registry::{Membership, Registry, WatchQuery};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use url::{Host, Url};

/// The length of the report queue. Checks wait while it is full.
const REPORTS: usize = 256;

/// Checks endpoints until stopped.
pub(crate) async fn health(
    registry: Registry,
    config: HealthConfig,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let (sender, mut reports) = mpsc::channel(REPORTS);
    let mut checks = Checks {
        monitor: HealthMonitor::new(config, metrics, sender.clone()),
        reports: sender,
        membership: registry.membership(),
        checked: HashSet::new(),
    };
    let mut events = registry.watch(WatchQuery::default());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => checks.follow(&event.change),
                None => break,
            },
            () = checks.membership.changed() => checks.reassign(&registry),
            Some((id, report)) = reports.recv() => {
                stop.run_until_cancelled(update(&registry, &id, report)).await;
            }
            () = stop.cancelled() => break,
        }
    }
    // Closes the channel, so that no check waits to send a report.
    drop(reports);
    checks.monitor.stop().await;
}

/// The checks that run on this server.
struct Checks {
    monitor: HealthMonitor,
    reports: mpsc::Sender<(ServiceId, HealthReport)>,
    membership: Membership,
    checked: HashSet<ServiceId>,
}

// === impl Checks ===

impl Checks {
    fn follow(&mut self, change: &Change) {
        match change {
            Change::Snapshot { endpoints } => {
                self.monitor.unwatch_all();
                self.checked.clear();
                endpoints.iter().for_each(|endpoint| self.assign(endpoint));
            }
            Change::Registered { endpoint } | Change::Updated { endpoint } => self.assign(endpoint),
            Change::Deregistered { endpoint } | Change::Expired { endpoint } => {
                self.release(&endpoint.id);
            }
            Change::Health { .. } => {}
        }
    }

    /// Starts the check of an endpoint that this server owns, and ends that of any other.
    fn assign(&mut self, endpoint: &ServiceEndpoint) {
        match check_of(endpoint).filter(|_| self.membership.owns(&endpoint.id)) {
            Some(Ok(check)) => {
                self.monitor.watch(endpoint, &check);
                self.checked.insert(endpoint.id.clone());
            }
            Some(Err(reason)) => {
                self.release(&endpoint.id);
                self.explain(endpoint, reason);
            }
            None => self.release(&endpoint.id),
        }
    }

    /// Reports why a health URL cannot be checked as the reason of the endpoint's unknown health. The
    /// report is dropped if the queue is full.
    fn explain(&self, endpoint: &ServiceEndpoint, reason: String) {
        debug!(service_id = %endpoint.id, reason, "Health URL not checked");
        if endpoint.health == HealthStatus::Unknown {
            let report = HealthReport::new(HealthStatus::Unknown, reason);
            drop(self.reports.try_send((endpoint.id.clone(), report)));
        }
    }

    fn release(&mut self, id: &ServiceId) {
        if self.checked.remove(id) {
            self.monitor.unwatch(id);
        }
    }

    /// Starts and ends checks after a server joined or left. Checks that stay here go on.
    fn reassign(&mut self, registry: &Registry) {
        for endpoint in registry.list() {
            if self.membership.owns(&endpoint.id) != self.checked.contains(&endpoint.id) {
                self.assign(&endpoint);
            }
        }
    }
}

/// The check that an endpoint requests, or why it cannot be made. The URL must name the endpoint's own
/// host: a registry that requested any URL could be used to reach hosts behind a firewall
/// (server-side request forgery).
fn check_of(endpoint: &ServiceEndpoint) -> Option<Result<CheckSpec, String>> {
    let url = endpoint.health_url.as_deref().filter(|_| !endpoint.is_checked_by_agent())?;
    Some(parse_health_url(endpoint, url).map_err(|reason| format!("health_url: {reason}")))
}

fn parse_health_url(endpoint: &ServiceEndpoint, url: &str) -> Result<CheckSpec, String> {
    let check = url.parse::<CheckSpec>().map_err(|error| error.to_string())?;
    let parsed = Url::parse(url).map_err(|error| error.to_string())?;
    match parsed.host().is_some_and(|host| is_host_of(endpoint, host)) {
        true => Ok(check),
        false => Err("a registry checks only URLs of the endpoint's own host".to_owned()),
    }
}

fn is_host_of(endpoint: &ServiceEndpoint, host: Host<&str>) -> bool {
    match (host, endpoint.host.address()) {
        (Host::Domain(name), address) => match name.parse() {
            // The URL parser keeps an IPv4 address as a name if the scheme is not HTTP's.
            Ok(parsed) => address == Some(parsed),
            Err(_) => name.eq_ignore_ascii_case(&endpoint.host.to_string()),
        },
        (Host::Ipv4(host), Some(address)) => address == host,
        (Host::Ipv6(host), Some(address)) => address == host,
        _ => false,
    }
}

async fn update(registry: &Registry, id: &ServiceId, report: HealthReport) {
    if let Err(error) = registry.update_health(id, report).await {
        // Expected if the endpoint was deregistered while it was checked.
        debug!(service_id = %id, %error, "Health report rejected");
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    use portolan_core::{HealthStatus, Host, Registration, Ttl};
    use portolan_registry::store::Memory;
    use portolan_registry::{Origin, RegistryConfig, open_over};
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
            let checks = health(registry.clone(), config, metrics.clone(), stop);
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
            let service =
                Registration { health_url, ..Registration::new(name, Host::loopback(), port) };
            first.registry.register(service, Origin::local()).await.unwrap();
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
            ("127.0.0.1", "https://127.0.0.1:8080/", None),
            ("127.0.0.1", "not a url", None),
        ] {
            let check = check_of(&endpoint(host, url)).unwrap().ok().map(|check| check.to_string());
            assert_eq!(check.as_deref(), expected, "{url} of {host}");
        }
    }

    #[test]
    fn unknown_scheme_is_a_reason_that_lists_the_known_ones() {
        let reason = |url: &str| check_of(&endpoint("127.0.0.1", url)).unwrap().unwrap_err();
        let expected = "health_url: \"ftp://127.0.0.1/\" is not a health check; expected tcp";
        assert!(reason("ftp://127.0.0.1/").starts_with(expected), "{}", reason("ftp://127.0.0.1/"));
        assert!(reason("https://127.0.0.1/").contains("TLS is not supported"));
    }

    #[test]
    fn endpoint_that_its_agent_checks_is_not_checked() {
        let mut endpoint = endpoint("127.0.0.1", "http://127.0.0.1:8080/health");
        let (key, value) = portolan_core::endpoint::CHECKED_BY_AGENT;
        endpoint.metadata.insert(key.to_owned(), value.to_owned());
        assert_eq!(check_of(&endpoint), None);
    }
}
