//! Health checks of the endpoints that this server owns and that name a health URL, or that refused the registry after a caller
//! could not connect.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use portolan_core::{
    Change, HealthReport, HealthStatus, IpNetwork, ServiceEndpoint, ServiceId, Source,
};
use portolan_health::{
    CheckKinds, CheckReach, CheckSpec, FirstCheck, HealthEvent, HealthMonitor, LastResults,
    RegistrantReach, is_refused_after_report,
};
use portolan_metrics::Metrics;
use portolan_registry::{Membership, Registry, WatchQuery};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use url::{Host, Url};

use super::ChannelTrust;
use crate::Settings;

/// How an endpoint that is critical because of a report is checked: the first connection that it accepts disproves the report.
const AFTER_REPORT: &str = "tcp#successes_before_passing=1&max_successes_before_passing=1";
/// The length of the report queue. Checks wait while it is full.
const REPORTS: usize = 256;

/// Checks endpoints by the settings in force until stopped. When they change, every check begins again.
pub(crate) async fn health_following(
    registry: Registry,
    mut settings: watch::Receiver<Arc<Settings>>,
    metrics: Metrics,
    results: LastResults,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let now = Arc::clone(&settings.borrow_and_update());
        let (turn, trust) = (stop.child_token(), ChannelTrust::new(&now, false));
        let config = now.health.clone();
        let monitor = |events| {
            HealthMonitor::recording(config.clone(), metrics.clone(), events, results.clone())
        };
        let allowed = config.allowed_networks.clone();
        let checking = health(registry.clone(), allowed, monitor, trust, turn.clone());
        let differs = |new: &Arc<Settings>| {
            new.health != now.health || ChannelTrust::new(new, false) != trust
        };
        tokio::pin!(checking);
        tokio::select! {
            () = &mut checking => return,
            Ok(_) = settings.wait_for(differs) => {}
        }
        turn.cancel();
        checking.await;
    }
}

/// Checks endpoints until stopped.
async fn health(
    registry: Registry,
    allowed: Vec<IpNetwork>,
    monitor: impl FnOnce(mpsc::Sender<HealthEvent>) -> HealthMonitor,
    trust: ChannelTrust,
    stop: CancellationToken,
) {
    let (sender, mut reports) = mpsc::channel(REPORTS);
    let mut checks = Checks {
        allowed: allowed.into(),
        registry: registry.clone(),
        monitor: monitor(sender.clone()),
        reports: sender,
        membership: registry.membership(),
        checked: HashSet::new(),
        trust,
    };
    let mut events = registry.watch(WatchQuery::default());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => checks.follow(&event.change),
                None => break,
            },
            () = checks.membership.changed() => checks.reassign(&registry),
            Some(event) = reports.recv() => {
                stop.run_until_cancelled(apply(&registry, event)).await;
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
    registry: Registry,
    /// Where everyone's instances may be checked.
    allowed: Arc<[IpNetwork]>,
    monitor: HealthMonitor,
    reports: mpsc::Sender<HealthEvent>,
    membership: Membership,
    checked: HashSet<ServiceId>,
    trust: ChannelTrust,
}

// === impl Checks ===

impl Checks {
    fn follow(&mut self, change: &Change) {
        match change {
            Change::Snapshot { endpoints, .. } => {
                self.monitor.unwatch_all();
                self.checked.clear();
                for endpoint in endpoints.iter() {
                    self.assign(endpoint, FirstCheck::WithinInterval);
                }
                self.monitor.results().retain(|id| self.registry.get(id).is_some());
            }
            Change::Registered { endpoint } | Change::Updated { endpoint } => {
                self.assign(endpoint, FirstCheck::Now);
            }
            Change::Deregistered { endpoint } | Change::Expired { endpoint } => {
                self.release(&endpoint.id);
            }
            // Its check goes on from this health, which its own state machine does not know.
            Change::Health { endpoint } if is_refused_after_report(endpoint) => {
                self.assign(endpoint, FirstCheck::Now);
            }
            Change::Health { endpoint } => self.end_check_after_report(endpoint),
        }
    }

    /// Starts the check of an endpoint that this server owns, and ends that of any other.
    fn assign(&mut self, endpoint: &ServiceEndpoint, first: FirstCheck) {
        match check_of(endpoint, self.trust).filter(|_| self.membership.owns(&endpoint.id)) {
            Some(Ok(check)) => {
                let registrant = self.registry.registrant(&endpoint.id);
                let reach = RegistrantReach::new(registrant, Arc::clone(&self.allowed));
                let reach = CheckReach::Registrant(reach);
                self.monitor.watch_within(endpoint, &check, reach, first);
                self.checked.insert(endpoint.id.clone());
            }
            Some(Err(reason)) => {
                self.release(&endpoint.id);
                self.explain(endpoint, reason);
            }
            None => self.release(&endpoint.id),
        }
    }

    /// Ends the check of an endpoint that was checked only because of a report.
    fn end_check_after_report(&mut self, endpoint: &ServiceEndpoint) {
        if self.checked.contains(&endpoint.id) && check_of(endpoint, self.trust).is_none() {
            self.release(&endpoint.id);
        }
    }

    /// Reports why a health URL cannot be checked as the reason of the endpoint's unknown health. The
    /// report is dropped if the queue is full.
    fn explain(&self, endpoint: &ServiceEndpoint, reason: String) {
        debug!(service_id = %endpoint.id, reason, "Health URL not checked");
        if endpoint.health == HealthStatus::Unknown {
            let report = HealthReport::new(HealthStatus::Unknown, reason);
            let id = endpoint.id.clone();
            drop(self.reports.try_send(HealthEvent::Changed { id, report }));
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
                self.assign(&endpoint, FirstCheck::WithinInterval);
            }
        }
    }
}

/// The check that an endpoint requests, or why it cannot be made. The URL must name the endpoint's own
/// host: a registry that requested any URL could be used to reach hosts behind a firewall
/// (server-side request forgery).
fn check_of(endpoint: &ServiceEndpoint, trust: ChannelTrust) -> Option<Result<CheckSpec, String>> {
    let own = own_check_of(endpoint, trust);
    let is_checked = matches!(own, Some(Ok(_)));
    match is_refused_after_report(endpoint) && !is_checked {
        true => Some(AFTER_REPORT.parse().map_err(|error| format!("{error}"))),
        false => own,
    }
}

/// The check that the registration requests from the registry.
fn own_check_of(
    endpoint: &ServiceEndpoint,
    trust: ChannelTrust,
) -> Option<Result<CheckSpec, String>> {
    let url = endpoint.health_url.as_deref()?;
    // An announcement that is not signed may be forged: with one datagram, anyone could let the registry send requests.
    if endpoint.source == Source::Broadcast && trust != ChannelTrust::Signed {
        return Some(Err(
            "not checked, because the announcement is not signed; set broadcast.key".to_owned()
        ));
    }
    if endpoint.is_checked_by_agent() {
        return None;
    }
    Some(parse_health_url(endpoint, url).map_err(|reason| format!("health_url: {reason}")))
}

fn parse_health_url(endpoint: &ServiceEndpoint, url: &str) -> Result<CheckSpec, String> {
    let check = CheckKinds::built_in().parse_url(url).map_err(|error| error.to_string())?;
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

/// An endpoint that nobody checks is of unknown health again when it has disproved a report.
fn after_report(registry: &Registry, id: &ServiceId, report: HealthReport) -> HealthReport {
    let endpoint = registry.get(id);
    let is_unchecked = |endpoint: &Arc<ServiceEndpoint>| {
        is_refused_after_report(endpoint) && !endpoint.is_checked()
    };
    match report.status == HealthStatus::Passing && endpoint.as_ref().is_some_and(is_unchecked) {
        true => HealthReport::new(HealthStatus::Unknown, ""),
        false => report,
    }
}

async fn apply(registry: &Registry, event: HealthEvent) {
    let (id, result) = match event {
        HealthEvent::Changed { id, report } => {
            let report = after_report(registry, &id, report);
            let result = registry.update_health(&id, report).await;
            (id, result)
        }
        HealthEvent::Overdue { id } => {
            warn!(service_id = %id, "Service critical for too long, it is deregistered");
            let result = registry.deregister(&id).await;
            (id, result)
        }
    };
    if let Err(error) = result {
        // Expected if the endpoint was deregistered while it was checked.
        debug!(service_id = %id, %error, "Health report rejected");
    }
}

#[cfg(test)]
mod tests;
