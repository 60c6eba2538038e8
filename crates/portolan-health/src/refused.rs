//! The health of an instance to which a caller could not connect, and the registry could not either.

use portolan_core::{HealthReport, HealthStatus, ServiceEndpoint};

/// The reason tells this report from those of checks, on every server over a store.
const REASON: &str = "nothing listens there: a caller could not connect, and the registry is refused as well; it asks again \
                      until a connection is accepted";

/// The report of an instance whose addresses refuse connections, after a caller could not connect.
pub fn refused_after_report() -> HealthReport {
    HealthReport::new(HealthStatus::Critical, REASON)
}

/// Whether the instance has the health of [`refused_after_report`].
pub fn is_refused_after_report(endpoint: &ServiceEndpoint) -> bool {
    endpoint.health == HealthStatus::Critical && endpoint.health_reason == REASON
}
