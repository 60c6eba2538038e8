//! Records committed changes in the audit log and in the counters.
//!
//! A change is recorded once, by the server that committed it, and within the span of the caller,
//! which says who requested it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan_core::{Revision, ServiceEndpoint, Source};
use portolan_metrics::Metrics;
use tracing::{info, warn};

use crate::{CommandOutcome, Registered};

/// Records what this server has committed.
#[derive(Debug, Clone)]
pub struct Recorder {
    metrics: Metrics,
    /// The number of instances that are kept because too many leases ended at once.
    protected: Arc<AtomicUsize>,
}

// === impl Recorder ===

impl Recorder {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, protected: Arc::default() }
    }

    /// Records the outcome of a command if it registered, changed or removed an instance.
    pub(crate) fn committed(&self, outcome: &CommandOutcome, source: Source) {
        let source = match source {
            Source::Registered => "api",
            Source::Consul => "consul",
            Source::Broadcast => "broadcast",
        };
        if let CommandOutcome::Registered(Registered { displaced, .. }) = outcome {
            for (old, revision) in displaced {
                self.metrics.service_deregistered(old.name.as_str());
                log(old, *revision, "displace", source, "Service displaced from its address");
            }
        }
        match outcome {
            CommandOutcome::Registered(Registered { endpoint, created: true, .. }) => {
                self.metrics.service_registered(endpoint.name.as_str());
                log(endpoint, endpoint.revision, "register", source, "Service registered");
            }
            CommandOutcome::Registered(Registered {
                endpoint, changed: true, moved_from, ..
            }) => {
                if let Some(old) = moved_from {
                    self.metrics.service_deregistered(old.name.as_str());
                    self.metrics.service_registered(endpoint.name.as_str());
                }
                log(endpoint, endpoint.revision, "update", source, "Service updated");
            }
            CommandOutcome::Deregistered { endpoint, revision } => {
                self.metrics.service_deregistered(endpoint.name.as_str());
                log(endpoint, *revision, "deregister", source, "Service deregistered");
            }
            CommandOutcome::Registered(_)
            | CommandOutcome::Renewed
            | CommandOutcome::HealthUpdated(_) => {}
        }
    }

    /// Records that a lease ended, and the revision of that change.
    pub fn expired(&self, endpoint: &ServiceEndpoint, revision: Revision) {
        self.metrics.service_deregistered(endpoint.name.as_str());
        log(endpoint, revision, "expire", "lease", "Service expired");
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

fn log(endpoint: &ServiceEndpoint, revision: Revision, action: &str, source: &str, phrase: &str) {
    info!(
        target: "audit",
        action,
        source,
        service_name = %endpoint.name,
        service_id = %endpoint.id,
        scope = %endpoint.scope,
        host = %endpoint.host,
        port = endpoint.port,
        protocol = %endpoint.protocol,
        revision = revision.0,
        "{phrase}"
    );
}
