//! What is said of a service that cannot be shown in the cluster.

use kube::Error;

use crate::cluster;

use super::reconcile::Problem;

/// What a problem with the Lease is reported under.
pub(super) const LEASE: &str = "(lease)";

/// The text and the remedy of a problem.
pub(super) fn text(problem: &Problem) -> (String, String) {
    match problem {
        Problem::Foreign(None) => (
            "the namespace has a Service of this name that Portolan has not written".to_owned(),
            "rename one of them, or delete the Service".to_owned(),
        ),
        Problem::Foreign(Some(exporter)) => (
            format!("the Service of this name belongs to the exporter {exporter}"),
            "export it by one of them only, or into another namespace".to_owned(),
        ),
        Problem::Api(error) => described(error),
    }
}

/// The text and the remedy of an error of the API server.
pub(super) fn described(error: &Error) -> (String, String) {
    let remedy = match error {
        Error::Api(status) if status.code == 403 => {
            "grant the rights in packaging/kubernetes/export.yaml"
        }
        Error::Api(status) if status.code == 404 => {
            "create the namespace; if the cluster was upgraded, start the export again"
        }
        error => cluster::remedy(error).unwrap_or("none needed if the API server returns"),
    };
    (cluster::describe(error), remedy.to_owned())
}

/// The text and the remedy of a name that no Service can have (RFC 1035, section 2.3.1).
pub(super) fn not_a_service_name() -> (String, String) {
    (
        "the name of a Service is at most 63 lower-case letters, digits and hyphens, and begins with a letter".to_owned(),
        "register the service under such a name too".to_owned(),
    )
}

/// Whether another attempt may succeed although nothing changes here.
pub(super) fn is_temporary(problem: &Problem) -> bool {
    matches!(problem, Problem::Api(_))
}

/// Whether somebody else has changed the object meanwhile, which the watch is about to report.
pub(super) fn is_race(problem: &Problem) -> bool {
    matches!(problem, Problem::Api(error) if is_conflict(error))
}

/// Whether the object is not as it was last seen.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409)
}
