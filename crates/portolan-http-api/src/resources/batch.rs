//! `/api/v1/batch`: many changes in one request, each with its own result.

use std::sync::Arc;

use axum::extract::{Extension, State};
use http::StatusCode;
use portolan_core::{HealthReport, HealthStatus, Registration, ServiceEndpoint, ServiceId};
use portolan_registry::{Command, CommandOutcome, Origin, Registered, RegistryError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Api;
use crate::body::{Json, interpret};
use crate::connection::Caller;
use crate::problem::{Kind, Problem};
use crate::resources::services;

/// How many operations one request may have: more would keep others waiting.
const OPERATIONS: usize = 1_000;

/// What is asked for. Each operation is read by itself, so that a bad one does not spoil the rest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    operations: Vec<Value>,
}

/// What came of it, in the order of the operations.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    results: Vec<Answer>,
}

/// What came of one operation: what the request by itself would have been answered.
#[derive(Debug, Serialize)]
struct Answer {
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    id: ServiceId,
    status: HealthStatus,
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/batch`: carries out what can be, and answers each operation by itself.
pub(crate) async fn apply(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(Batch { operations }): Json<Batch>,
) -> Result<Json<Results>, Problem> {
    check_count(operations.len())?;
    let mut commands = Vec::with_capacity(operations.len());
    let sort = |operation| command(operation).map(|sound| commands.push(sound)).err();
    let refusals: Vec<_> = operations.into_iter().map(sort).collect();
    let mut outcomes =
        api.registry().apply(commands, Origin::api(caller.machine())).await.into_iter();
    let answer = |(place, refusal): (usize, Option<Problem>)| match refusal {
        Some(problem) => Some(Answer::from(problem.within(&at(place)))),
        None => outcomes.next().map(|outcome| match outcome {
            Ok(outcome) => Answer::from(outcome),
            Err(error) => Answer::from(rejected(error).within(&at(place))),
        }),
    };
    let results = refusals.into_iter().enumerate().filter_map(answer).collect();
    Ok(Json(Results { results }))
}

fn command(operation: Value) -> Result<Command, Problem> {
    let mut members: Map<String, Value> = interpret(operation)?;
    let kind = members.remove("op").unwrap_or_default();
    let members = Value::Object(members);
    Ok(match kind.as_str() {
        Some("register") => Command::Register(interpret::<Service>(members)?.service),
        Some("deregister") => Command::Deregister(interpret::<Instance>(members)?.id),
        Some("heartbeat") => Command::Heartbeat(interpret::<Instance>(members)?.id),
        Some("health") => {
            let Report { id, status, reason } = interpret(members)?;
            Command::Health(id, HealthReport { status, reason })
        }
        _ => {
            let detail = "op: use register, deregister, heartbeat or health";
            return Err(Problem::new(Kind::BadMember, detail).pointer("/op".into()));
        }
    })
}

/// A rejected command's problem. A pointer of the registry's points into the registration.
fn rejected(error: RegistryError) -> Problem {
    match error {
        RegistryError::RemoteLoopback { .. } => Problem::from(error).within("/service"),
        _ => Problem::from(error),
    }
}

fn check_count(count: usize) -> Result<(), Problem> {
    if count <= OPERATIONS {
        return Ok(());
    }
    let detail = format!(
        "{count} operations are too many; the limit is {OPERATIONS}, so send them in several requests"
    );
    Err(Problem::new(Kind::BadMember, detail).pointer("/operations".into()))
}

fn at(place: usize) -> String {
    format!("/operations/{place}")
}

// === impl Answer ===

impl From<CommandOutcome> for Answer {
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

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self { status: problem.status().as_u16(), service: None, problem: Some(problem) }
    }
}
