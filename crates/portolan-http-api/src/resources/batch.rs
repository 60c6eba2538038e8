//! `/api/v1/batch`: many operations in one request, each with its own result.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use portolan_core::{
    HealthReport, HealthStatus, Incarnation, Registration, ServiceEndpoint, ServiceId, quoted,
};
use portolan_registry::{Command, CommandOutcome, CommandTarget, Registered, RegistryError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Api;
use crate::body::{Json, from_value};
use crate::problem::{Problem, ProblemKind};
use crate::resources::caller::Requester;
use crate::resources::services;

/// The maximum number of operations: more would delay the commands of other clients.
const MAX_OPERATIONS: usize = 1_000;

/// The body. Each operation is parsed separately, so that an invalid one does not affect others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    operations: Vec<Value>,
}

/// The response: one result per operation, in their order.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    results: Vec<OperationResponse>,
}

/// The result of one operation, as if it had been a request of its own.
#[derive(Debug, Serialize)]
struct OperationResponse {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Arc<ServiceEndpoint>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    service: Registration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance {
    id: ServiceId,
    incarnation: Option<Incarnation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    id: ServiceId,
    incarnation: Option<Incarnation>,
    status: HealthStatus,
    #[serde(default)]
    reason: String,
}

/// `POST`: applies the valid operations in their order. The others have no effect.
pub(crate) async fn apply(
    State(api): State<Api>,
    requester: Requester,
    Json(Batch { operations }): Json<Batch>,
) -> Result<Json<Results>, Problem> {
    check_count(operations.len())?;
    let mut commands = Vec::with_capacity(operations.len());
    let mut parse = |operation| command(operation).map(|valid| commands.push(valid)).err();
    let problems: Vec<_> = operations.into_iter().map(&mut parse).collect();
    let mut outcomes = api.registry().apply(commands, requester.origin()).await.into_iter();
    let result = |(index, problem): (usize, Option<Problem>)| match problem {
        Some(problem) => Some(OperationResponse::from(problem.within(&pointer(index)))),
        None => outcomes.next().map(|outcome| match outcome {
            Ok(outcome) => OperationResponse::from(outcome),
            Err(error) => OperationResponse::from(rejected(error).within(&pointer(index))),
        }),
    };
    let results = problems.into_iter().enumerate().filter_map(result).collect();
    Ok(Json(Results { results }))
}

fn command(operation: Value) -> Result<Command, Problem> {
    let mut members: Map<String, Value> = from_value(operation)?;
    let kind = members.remove("op").unwrap_or_default();
    let members = Value::Object(members);
    Ok(match kind.as_str() {
        Some("register") => Command::Register(from_value::<Service>(members)?.service),
        Some("deregister") => Command::Deregister(from_value::<Instance>(members)?.into()),
        Some("heartbeat") => Command::Heartbeat(from_value::<Instance>(members)?.into()),
        Some("health") => {
            let Report { id, incarnation, status, reason } = from_value(members)?;
            Command::Health(CommandTarget { id, incarnation }, HealthReport { status, reason })
        }
        Some(other) => return Err(unknown_operation(&quoted(other))),
        None => return Err(unknown_operation("missing or not a text")),
    })
}

fn unknown_operation(given: &str) -> Problem {
    let detail = format!("op: {given}, expected register, deregister, heartbeat or health");
    Problem::new(ProblemKind::BadMember, detail).pointer("/op")
}

/// Returns the problem of a rejected command. A pointer of the registry is relative to the
/// registration.
fn rejected(error: RegistryError) -> Problem {
    match error {
        RegistryError::RemoteLoopback { .. } => Problem::from(error).within("/service"),
        _ => Problem::from(error),
    }
}

fn check_count(count: usize) -> Result<(), Problem> {
    if count <= MAX_OPERATIONS {
        return Ok(());
    }
    let detail = format!("{count} operations, the limit is {MAX_OPERATIONS}");
    Err(Problem::new(ProblemKind::BadMember, detail)
        .remedy("split them into several requests")
        .pointer("/operations"))
}

fn pointer(index: usize) -> String {
    format!("/operations/{index}")
}

impl From<Instance> for CommandTarget {
    fn from(Instance { id, incarnation }: Instance) -> Self {
        Self { id, incarnation }
    }
}

// === impl OperationResponse ===

impl From<CommandOutcome> for OperationResponse {
    fn from(outcome: CommandOutcome) -> Self {
        let (status, service) = match outcome {
            CommandOutcome::Registered(Registered { endpoint, created, .. }) => {
                (services::status(created), Some(endpoint))
            }
            CommandOutcome::Deregistered { .. }
            | CommandOutcome::Renewed
            | CommandOutcome::HealthUpdated(_) => (StatusCode::NO_CONTENT, None),
        };
        Self { status: status.as_u16(), service, problem: None }
    }
}

impl From<Problem> for OperationResponse {
    fn from(problem: Problem) -> Self {
        Self { status: problem.status().as_u16(), service: None, problem: Some(problem) }
    }
}
