//! Many operations in one request, each with its own result.

use portolan_core::{HealthReport, Incarnation, Registration, ServiceId};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::client::RegistryClient;
use super::error::RegistryClientError;
use super::response::Problem;

/// The maximum number of operations of one request.
pub const MAX_OPERATIONS: usize = 1_000;

/// An operation on an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Registers it, or replaces its registration.
    Register(Box<Registration>),
    /// Deregisters it.
    Deregister(ServiceId),
    /// Renews its lease.
    Heartbeat(ServiceId),
    /// Reports its health.
    Health(ServiceId, HealthReport),
}

/// An operation as the registry reads it.
#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Wire<'a> {
    Register {
        service: &'a Registration,
    },
    Deregister(Target<'a>),
    Heartbeat(Target<'a>),
    Health {
        #[serde(flatten)]
        target: Target<'a>,
        #[serde(flatten)]
        report: &'a HealthReport,
    },
}

#[derive(Serialize)]
struct Target<'a> {
    id: &'a ServiceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<Incarnation>,
}

#[derive(Serialize)]
struct Body<'a> {
    operations: Vec<Wire<'a>>,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    problem: Problem,
}

// === impl RegistryClient ===

impl RegistryClient {
    /// Applies up to [`MAX_OPERATIONS`] operations in their order, and returns the result of each: one that is refused has no
    /// effect and does not affect the others. Fails as a whole if the request has not been answered; it may be repeated then.
    pub async fn batch(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<Result<(), RegistryClientError>>, RegistryClientError> {
        let body = Body { operations: operations.iter().map(|it| self.wire(it)).collect() };
        let request = self.request(Method::POST, &["batch".to_owned()]).json(&body);
        let response = self.send(request).await?.accepted()?;
        let url = response.url().to_owned();
        let Answer { results } = response.json().await?;
        if results.len() != operations.len() {
            let reason = format!("{} operations have {} results", operations.len(), results.len());
            return Err(RegistryClientError::bad_answer(&url, reason));
        }
        Ok(operations.iter().zip(results).map(|(one, outcome)| outcome.of(one, &url)).collect())
    }

    fn wire<'a>(&self, operation: &'a Operation) -> Wire<'a> {
        let target = |id| Target { id, incarnation: self.incarnation() };
        match operation {
            Operation::Register(service) => Wire::Register { service },
            Operation::Deregister(id) => Wire::Deregister(target(id)),
            Operation::Heartbeat(id) => Wire::Heartbeat(target(id)),
            Operation::Health(id, report) => Wire::Health { target: target(id), report },
        }
    }
}

// === impl Operation ===

impl Operation {
    /// Returns the id of the instance.
    pub fn id(&self) -> ServiceId {
        match self {
            Self::Register(registration) => registration.id(),
            Self::Deregister(id) | Self::Heartbeat(id) | Self::Health(id, _) => id.clone(),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    fn of(self, operation: &Operation, url: &str) -> Result<(), RegistryClientError> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => {
                Err(RegistryClientError::UnknownService { id: operation.id() })
            }
            _ => Err(self.problem.into_error(status, url.to_owned())),
        }
    }
}
