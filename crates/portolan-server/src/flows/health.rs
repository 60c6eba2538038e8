//! Instances that nobody else checks are checked here, where they say how.

use futures_util::StreamExt as _;
use portolan_core::{Change, HealthReport, ServiceEndpoint, ServiceId};
use portolan_health::{CheckSpec, HealthConfig, HealthMonitor};
use portolan_metrics::Metrics;
use portolan_registry::{Registry, WatchQuery};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use url::{Host, Url};

/// How many reports may wait for the registry; a check that has more to say waits itself.
const REPORTS: usize = 256;

/// Checks what is to be checked until told to stop.
pub(crate) async fn health(
    registry: Registry,
    config: HealthConfig,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let (sender, mut reports) = mpsc::channel(REPORTS);
    let monitor = HealthMonitor::new(config, metrics, sender);
    let mut events = registry.watch(WatchQuery::default());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => follow(&monitor, &event.change),
                None => break,
            },
            Some((id, report)) = reports.recv() => pass_on(&registry, &id, report).await,
            () = stop.cancelled() => break,
        }
    }
    // Reports that are still coming have nowhere to go; a check must not wait for that.
    drop(reports);
    monitor.stop().await;
}

fn follow(monitor: &HealthMonitor, change: &Change) {
    match change {
        Change::Snapshot { endpoints } => {
            monitor.forget_all();
            endpoints.iter().for_each(|endpoint| check_or_forget(monitor, endpoint));
        }
        Change::Registered { endpoint } | Change::Updated { endpoint } => {
            check_or_forget(monitor, endpoint);
        }
        Change::Deregistered { endpoint } | Change::Expired { endpoint } => {
            monitor.forget(&endpoint.id);
        }
        Change::Health { .. } => {}
    }
}

fn check_or_forget(monitor: &HealthMonitor, endpoint: &ServiceEndpoint) {
    match check_of(endpoint) {
        Some(check) => monitor.watch(endpoint, &check),
        None => monitor.forget(&endpoint.id),
    }
}

/// The check that an endpoint asks for. Only its own host is asked: a registry that fetches any
/// URL it is given would fetch from the inside what an attacker cannot reach from the outside.
fn check_of(endpoint: &ServiceEndpoint) -> Option<CheckSpec> {
    let url = endpoint.health_url.as_deref().filter(|_| !endpoint.is_checked_by_agent())?;
    let parsed = Url::parse(url).ok()?;
    if !is_host_of(endpoint, parsed.host()?) {
        debug!(service_id = %endpoint.id, url, "Health URL of another host, not asked");
        return None;
    }
    url.parse()
        .inspect_err(|error| debug!(service_id = %endpoint.id, %error, "Health URL not understood"))
        .ok()
}

fn is_host_of(endpoint: &ServiceEndpoint, host: Host<&str>) -> bool {
    match (host, endpoint.host.address()) {
        (Host::Domain(name), address) => match name.parse() {
            // A URL of a scheme that is not the web's keeps an address as a name.
            Ok(parsed) => address == Some(parsed),
            Err(_) => name.eq_ignore_ascii_case(&endpoint.host.to_string()),
        },
        (Host::Ipv4(host), Some(address)) => address == host,
        (Host::Ipv6(host), Some(address)) => address == host,
        _ => false,
    }
}

async fn pass_on(registry: &Registry, id: &ServiceId, report: HealthReport) {
    if let Err(error) = registry.update_health(id, report).await {
        // It may have gone while it was checked.
        debug!(service_id = %id, %error, "Health not entered");
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{Host, Registration, Ttl};

    use super::*;

    fn endpoint(host: &str, health_url: &str) -> ServiceEndpoint {
        let host: Host = host.parse().unwrap();
        let mut registration = Registration::new("api".parse().unwrap(), host, 8080);
        registration.health_url = Some(health_url.to_owned());
        registration.into_endpoint(Ttl::DEFAULT, "2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn an_endpoint_is_checked_on_its_own_host_only() {
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
            let check = check_of(&endpoint(host, url)).map(|check| check.to_string());
            assert_eq!(check.as_deref(), expected, "{url} of {host}");
        }
    }

    #[test]
    fn an_endpoint_that_its_agent_checks_is_left_alone() {
        let mut endpoint = endpoint("127.0.0.1", "http://127.0.0.1:8080/health");
        let (key, value) = portolan_core::endpoint::CHECKED_BY_AGENT;
        endpoint.metadata.insert(key.to_owned(), value.to_owned());
        assert_eq!(check_of(&endpoint), None);
    }
}
