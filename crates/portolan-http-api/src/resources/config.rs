//! `/api/v1/config`: the settings of the server, for administrators.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::StatusCode;
use http::header::{HeaderMap, IF_MATCH};
use http::request::Parts;
use portolan_access::Right;
use portolan_config_manager::live::{Author, ChangeRefused, ConfigControl, HistoryEntry, Lock};
use portolan_core::Remedy;
use portolan_http::Principal;
use portolan_metrics::{Metrics, OperationResult};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Api;
use crate::body::Json;
use crate::etag;
use crate::problem::{Problem, ProblemKind};
use crate::resources::caller::Requester;

/// An extractor of a client that may administer the server.
#[derive(Debug, Clone)]
pub(crate) struct Administrator(String);

impl FromRequestParts<Api> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let requester = Requester::from_request_parts(parts, api).await?;
        requester.check(|grants| grants.check_server(Right::Administer))?;
        match parts.extensions.get::<Principal>() {
            // Every program of this host, or of the network, could change how the server works.
            None | Some(Principal::Unrestricted) => Err(Problem::new(
                ProblemKind::OpenRegistry,
                "the registry requires no credentials, so nobody is known to be its administrator",
            )
            .remedy(
                "set PORTOLAN_TOKEN or service_registry.policies, or change the configuration file",
            )),
            Some(principal) => Ok(Self(principal.name().to_owned())),
        }
    }
}

/// Why the settings are to be locked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockRequest {
    reason: String,
}

/// The latest versions of the settings.
#[derive(Debug, Serialize)]
pub(crate) struct Versions {
    versions: Vec<HistoryEntry>,
}

/// The longest reason of a lock, in bytes.
const MAX_REASON: usize = 256;

/// `GET /api/v1/config`: the settings in force.
pub(crate) async fn read(
    State(api): State<Api>,
    _administrator: Administrator,
) -> Result<Response, Problem> {
    let document = control(&api)?.document();
    Ok(etag::tagged(etag::of_number(document.version), Json(document)))
}

/// `PATCH /api/v1/config`: changes settings, all or none.
pub(crate) async fn change(
    State(api): State<Api>,
    Administrator(name): Administrator,
    headers: HeaderMap,
    Json(patch): Json<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (control, expected) = (control(&api)?, expected(&headers)?);
    let change = move || control.patch(&Value::Object(patch), expected, Author::Client(name));
    let result = blocking(change).await?;
    count(api.metrics(), result.is_ok());
    let applied = result?;
    Ok(etag::tagged(etag::of_number(applied.version), Json(applied)))
}

/// `GET /api/v1/config/history`: the latest versions, oldest first.
pub(crate) async fn history(
    State(api): State<Api>,
    _administrator: Administrator,
) -> Result<Json<Versions>, Problem> {
    Ok(Json(Versions { versions: control(&api)?.history() }))
}

/// `PUT /api/v1/config/lock`: refuses changes, also of files, until the lock is removed.
pub(crate) async fn lock(
    State(api): State<Api>,
    Administrator(name): Administrator,
    Json(LockRequest { reason }): Json<LockRequest>,
) -> Result<Json<Lock>, Problem> {
    if reason.trim().is_empty() || reason.len() > MAX_REASON {
        let expected = format!("the reason is empty or has more than {MAX_REASON} bytes");
        return Err(Problem::new(ProblemKind::BadMember, expected)
            .remedy("say why the settings must not change")
            .pointer("/reason"));
    }
    Ok(Json(control(&api)?.lock(&name, &reason)?))
}

/// `DELETE /api/v1/config/lock`: removes the lock of any holder, and loads the files.
pub(crate) async fn unlock(
    State(api): State<Api>,
    _administrator: Administrator,
) -> Result<StatusCode, Problem> {
    let control = control(&api)?;
    match blocking(move || control.unlock()).await? {
        Ok(_) | Err(ChangeRefused::NotLocked) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(error.into()),
    }
}

fn control(api: &Api) -> Result<Arc<dyn ConfigControl>, Problem> {
    api.settings().ok_or_else(|| {
        Problem::new(
            ProblemKind::FixedConfig,
            "the settings of this server do not change while it runs",
        )
        .remedy("change its configuration file, and restart it")
    })
}

/// Runs what reads files.
async fn blocking<T: Send + 'static>(
    action: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(action)
        .await
        .map_err(|_| Problem::new(ProblemKind::Internal, "the change of the settings failed"))
}

fn count(metrics: &Metrics, is_applied: bool) {
    metrics.config_changed(match is_applied {
        true => OperationResult::Success,
        false => OperationResult::Failure,
    });
}

/// Returns the version in `If-Match` (RFC 9110, section 13.1.1); `*` is any.
fn expected(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    etag::number(text).map(Some).ok_or_else(|| {
        Problem::new(ProblemKind::BadParameter, format!("If-Match {text:?} is not a version"))
            .remedy("send the ETag of GET /api/v1/config")
            .param("If-Match")
    })
}

impl From<ChangeRefused> for Problem {
    fn from(error: ChangeRefused) -> Self {
        let kind = match &error {
            ChangeRefused::Locked { .. } => ProblemKind::ConfigLocked,
            ChangeRefused::Version { .. } => ProblemKind::ConfigVersion,
            ChangeRefused::Invalid { .. } => ProblemKind::BadMember,
            ChangeRefused::Settings(_) => ProblemKind::SettingRefused,
            _ => ProblemKind::ConfigVeto,
        };
        let problem = Self::new(kind, error.to_string());
        match error.remedy() {
            Some(remedy) => problem.remedy(remedy.into_owned()),
            None => problem,
        }
    }
}
