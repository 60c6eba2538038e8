//! The audit log: one line for each instance that comes, changes or goes.
//!
//! Logged by the one hand that writes, so that there is no change without its line and the lines
//! come in the order of the changes; within the span of the caller, which says who asked.

use portolan_core::{Revision, ServiceEndpoint};
use tracing::info;

use crate::{CommandOutcome, Registered, Source};

/// Logs what came of a command, where it changed which instances there are.
pub(crate) fn record(outcome: &CommandOutcome, source: Source) {
    match outcome {
        CommandOutcome::Registered(Registered { endpoint, created: true, .. }) => {
            line(endpoint, endpoint.revision, "register", source.as_str(), "Service registered");
        }
        CommandOutcome::Registered(Registered { endpoint, changed: true, .. }) => {
            line(endpoint, endpoint.revision, "update", source.as_str(), "Service updated");
        }
        CommandOutcome::Deregistered { endpoint, revision } => {
            line(endpoint, *revision, "deregister", source.as_str(), "Service deregistered");
        }
        CommandOutcome::Registered(_)
        | CommandOutcome::Renewed
        | CommandOutcome::HealthUpdated(_) => {}
    }
}

/// Logs that the lease of an instance ended, and the revision that this made.
pub(crate) fn expired(endpoint: &ServiceEndpoint, revision: Revision) {
    line(endpoint, revision, "expire", "lease", "Service expired");
}

fn line(endpoint: &ServiceEndpoint, revision: Revision, action: &str, source: &str, phrase: &str) {
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
