//! Records committed changes in the audit log and in the counters.
//!
//! A change is recorded once, by the server that committed it, and within the span of the caller,
//! which says who requested it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan_core::{EndpointMembers, Revision, ServiceEndpoint, Source};
use portolan_metrics::Metrics;
use tracing::{info, warn};

use crate::view::View;
use crate::{Command, CommandOrigin, CommandOutcome, Registered, RegistryError};

/// Records what this server has committed.
#[derive(Debug, Clone)]
pub struct Recorder {
    metrics: Metrics,
    /// The number of instances that are kept because too many leases ended at once.
    protected: Arc<AtomicUsize>,
    /// What this server shows; `None` in tests of a store alone.
    view: Option<Arc<View>>,
}

/// A change of an instance, as the audit log has it.
struct Entry<'a> {
    action: &'a str,
    source: &'a str,
    /// The host that announced it, if it was learned by broadcast.
    announced_by: Option<IpAddr>,
    before: Option<String>,
    after: Option<String>,
    phrase: &'a str,
}

// === impl Recorder ===

impl Recorder {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, protected: Arc::default(), view: None }
    }

    /// Records what instances were before a command, as this view shows them.
    pub(crate) fn reading(self, view: Arc<View>) -> Self {
        Self { view: Some(view), ..self }
    }

    /// Returns the instance that a command is about to change, unless it can only renew a lease.
    pub(crate) fn before(&self, command: &Command) -> Option<Arc<ServiceEndpoint>> {
        match command {
            Command::Heartbeat(_) | Command::Attach(..) => None,
            _ => self.view.as_ref()?.get(&command.id()),
        }
    }

    /// Records the outcome of a change that nobody requested.
    #[cfg(feature = "consul")]
    pub(crate) fn committed(&self, outcome: &CommandOutcome, source: Source) {
        self.requested(outcome, &CommandOrigin::of(source, None), None);
    }

    /// Records the outcome of a command if it registered, changed or removed an instance.
    pub(crate) fn requested(
        &self,
        outcome: &CommandOutcome,
        origin: &CommandOrigin,
        before: Option<&ServiceEndpoint>,
    ) {
        let (source, announced_by) = source_of(origin);
        let entry = |action, phrase| {
            let (before, after) = (None, None);
            Entry { action, source, announced_by, before, after, phrase }
        };
        if let CommandOutcome::Registered(Registered { displaced, .. }) = outcome {
            for (old, revision) in displaced {
                self.count_ended(old);
                let entry = entry("displace", "Service displaced from its address");
                entry.was(old).log(old, *revision);
            }
        }
        match outcome {
            CommandOutcome::Registered(Registered { endpoint, created: true, .. }) => {
                self.count_registered(endpoint);
                let entry = entry("register", "Service registered");
                entry.becomes(endpoint).log(endpoint, endpoint.revision);
            }
            CommandOutcome::Registered(Registered {
                endpoint, changed: true, moved_from, ..
            }) => {
                if let Some(old) = moved_from {
                    self.count_ended(old);
                    self.count_registered(endpoint);
                }
                let entry = entry("update", "Service updated");
                entry.changed(before, endpoint).log(endpoint, endpoint.revision);
            }
            CommandOutcome::Deregistered { endpoint, revision } => {
                self.count_ended(endpoint);
                entry("deregister", "Service deregistered").was(endpoint).log(endpoint, *revision);
            }
            CommandOutcome::HealthUpdated(endpoint) => {
                if before.is_some_and(|before| before.health != endpoint.health) {
                    let entry = entry("health", "Service health reported");
                    entry.changed(before, endpoint).log(endpoint, endpoint.revision);
                }
            }
            CommandOutcome::Registered(_) | CommandOutcome::Renewed => {}
        }
    }

    fn count_registered(&self, endpoint: &ServiceEndpoint) {
        match endpoint.source {
            Source::Broadcast => self.metrics.service_announced(endpoint.name.as_str()),
            _ => self.metrics.service_registered(endpoint.name.as_str()),
        }
    }

    fn count_ended(&self, endpoint: &ServiceEndpoint) {
        match endpoint.source {
            Source::Broadcast => self.metrics.announced_service_ended(endpoint.name.as_str()),
            _ => self.metrics.service_deregistered(endpoint.name.as_str()),
        }
    }

    /// Records that a command was refused because of the owner of the instance, or because of a limit.
    pub(crate) fn refused(&self, command: &Command, error: &RegistryError, origin: &CommandOrigin) {
        use RegistryError as E;
        let action = match command {
            Command::Register(_) | Command::Restore(_) => "register",
            Command::Deregister(_) | Command::Vanish(..) => "deregister",
            Command::Heartbeat(_) | Command::Attach(..) => "heartbeat",
            Command::Health(..) => "health",
        };
        let (source, announced_by) = source_of(origin);
        if matches!(error, E::Denied(_)) {
            self.metrics.http_rejected("right");
        }
        // Anyone can send announcements, which are counted.
        let is_denial = matches!(
            error,
            E::AnotherIncarnation { .. }
                | E::Denied(_)
                | E::Displaced { .. }
                | E::OwnedByAnother { .. }
                | E::RegisteredInConsul { .. }
                | E::Full { .. }
                | E::ClientFull { .. }
                | E::IdentityFull { .. }
        );
        if is_denial && announced_by.is_none() {
            info!(
                target: "audit",
                action,
                outcome = "denied",
                source,
                service_id = %command.id(),
                reason = %error,
                "Service command refused"
            );
        }
    }

    /// Records that an instance is gone because its process has ended.
    pub(crate) fn vanished(&self, endpoint: &ServiceEndpoint, revision: Revision) {
        self.count_ended(endpoint);
        let (before, after) = (None, None);
        let (source, phrase) = ("session", "Service gone, its process has ended");
        let entry = Entry { action: "vanish", source, announced_by: None, before, after, phrase };
        entry.was(endpoint).log(endpoint, revision);
    }

    /// Records that a lease ended, and the revision of that change.
    pub fn expired(&self, endpoint: &ServiceEndpoint, revision: Revision) {
        self.count_ended(endpoint);
        let (before, after) = (None, None);
        let (source, phrase) = ("lease", "Service expired");
        let entry = Entry { action: "expire", source, announced_by: None, before, after, phrase };
        entry.was(endpoint).log(endpoint, revision);
    }

    /// Records how many instances this server keeps at the moment although their leases ended, because too many ended at
    /// once. The reason is in the health of each.
    pub fn protected(&self, count: usize) {
        self.metrics.registry_protected_instances(count);
        match (self.protected.swap(count, Ordering::Relaxed), count) {
            (0, 1..) => warn!(
                instances = count,
                "Too many leases end at once, instances are kept for service_registry.mass_expiry.keep"
            ),
            (1.., 0) => {
                info!("No instance is kept any more whose lease ended with too many others");
            }
            _ => {}
        }
    }
}

// === impl Entry ===

impl Entry<'_> {
    /// Removed.
    fn was(self, endpoint: &ServiceEndpoint) -> Self {
        match is_audited() {
            true => Self { before: text(&EndpointMembers::requested(endpoint)), ..self },
            false => self,
        }
    }

    /// New.
    fn becomes(self, endpoint: &ServiceEndpoint) -> Self {
        match is_audited() {
            true => Self { after: text(&EndpointMembers::requested(endpoint)), ..self },
            false => self,
        }
    }

    /// The members that differ.
    fn changed(self, before: Option<&ServiceEndpoint>, after: &ServiceEndpoint) -> Self {
        let Some(before) = before else { return self.becomes(after) };
        if !is_audited() {
            return self;
        }
        let (before, after) = differing(before, after);
        Self { before, after, ..self }
    }

    fn log(self, endpoint: &ServiceEndpoint, revision: Revision) {
        let Self { action, source, announced_by, before, after, phrase } = self;
        let announced_by = announced_by.map(tracing::field::display);
        info!(
            target: "audit",
            action,
            outcome = "success",
            source,
            announced_by,
            service_name = %endpoint.name,
            service_id = %endpoint.id,
            scope = %endpoint.scope,
            host = %endpoint.host,
            port = endpoint.port,
            protocol = %endpoint.protocol,
            revision = revision.0,
            before,
            after,
            "{phrase}"
        );
    }
}

fn source_of(origin: &CommandOrigin) -> (&'static str, Option<IpAddr>) {
    match origin.source() {
        Source::Registered => ("api", None),
        Source::Consul => ("consul", None),
        Source::Broadcast => ("broadcast", origin.peer()),
    }
}

/// Whether anything records audit events. If not, the JSON in them is not made.
fn is_audited() -> bool {
    tracing::enabled!(target: "audit", tracing::Level::INFO)
}

/// The JSON of the members that differ.
fn differing(
    before: &ServiceEndpoint,
    after: &ServiceEndpoint,
) -> (Option<String>, Option<String>) {
    let [before, after] = [before, after].map(EndpointMembers::requested);
    let (before, after) = EndpointMembers::differing(before, after);
    (text(&before), text(&after))
}

/// The JSON of members of an endpoint.
fn text(members: &EndpointMembers<'_>) -> Option<String> {
    serde_json::to_string(members).ok()
}

#[cfg(test)]
mod tests {
    use portolan_core::{HealthStatus, Registration, Ttl};

    use super::*;

    #[test]
    fn change_names_what_differs_and_nothing_else() {
        let registration =
            Registration::new("api".parse().unwrap(), "10.0.0.7".parse().unwrap(), 80);
        let before = registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
        let mut after = before.clone();
        (after.health, after.health_reason) = (HealthStatus::Critical, "by hand".to_owned());
        (after.last_heartbeat, after.revision) = (jiff::Timestamp::now(), Revision(7));
        let (before, after) = differing(&before, &after);
        assert_eq!(before.as_deref(), Some(r#"{"health":"unknown"}"#));
        let expected = r#"{"health":"critical","health_reason":"by hand"}"#;
        assert_eq!(after.as_deref(), Some(expected));
    }
}
