//! The audit log: one line for each instance that comes, changes or goes.
//!
//! Logged where the request is handled, so that the spans of the caller say who asked.

use portolan_core::ServiceEndpoint;
use tracing::info;

use crate::{Outcome, Registered, Source};

/// Logs what came of a command, where it changed which instances there are.
pub(crate) fn record(outcome: &Outcome, source: Source) {
    match outcome {
        Outcome::Registered(Registered { endpoint, created: true, .. }) => {
            line(endpoint, "register", source.as_str(), "Service registered");
        }
        Outcome::Registered(Registered { endpoint, changed: true, .. }) => {
            line(endpoint, "update", source.as_str(), "Service updated");
        }
        Outcome::Deregistered { endpoint, .. } => {
            line(endpoint, "deregister", source.as_str(), "Service deregistered");
        }
        Outcome::Registered(_) | Outcome::Alive | Outcome::HealthSet(_) => {}
    }
}

/// Logs that the lease of an instance ended.
pub(crate) fn expired(endpoint: &ServiceEndpoint) {
    line(endpoint, "expire", "lease", "Service expired");
}

fn line(endpoint: &ServiceEndpoint, action: &str, source: &str, phrase: &str) {
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
        revision = endpoint.revision.0,
        "{phrase}"
    );
}
