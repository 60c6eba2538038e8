//! `/api/v1/settings`: the settings of services, with versions.
//!
//! The entity tag of settings is their version. `If-Match` makes a change a compare-and-set.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};
use jiff::Timestamp;
use portolan_access::Right;
use portolan_core::{Scope, ServiceName, quoted};
use portolan_registry::{
    SettingsAction, SettingsChange, SettingsEntry, SettingsError, SettingsKey, SettingsOutcome,
    SettingsRecord,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Api;
use crate::body::Json;
use crate::etag;
use crate::parameters::{self, Parameters};
use crate::problem::{Problem, ProblemKind};
use crate::resources::caller::Requester;
use key::Key;

mod key;
pub(crate) mod watch;

/// A version of the settings of a service.
#[derive(Debug, Serialize)]
struct Document<'a> {
    name: &'a ServiceName,
    scope: &'a Scope,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<SettingsAction>,
    /// The version that a rollback has restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    /// `null` if there are none.
    value: Option<&'a Value>,
}

/// The services that have settings.
#[derive(Debug, Serialize)]
struct Listing<'a> {
    settings: Vec<Summary<'a>>,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    name: &'a ServiceName,
    scope: &'a Scope,
    version: u64,
    has_schema: bool,
}

/// The versions that are kept, the newest first.
#[derive(Debug, Serialize)]
struct History<'a> {
    versions: Vec<Document<'a>>,
}

/// The body of a rollback.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// The version whose value is restored.
    version: u64,
}

/// `GET /api/v1/settings`: the services that have settings.
pub(crate) async fn list(
    State(api): State<Api>,
    requester: Requester,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let scopes: Vec<Scope> = parameters.list("scope")?;
    parameters.finish(&["scope"])?;
    requester.check(|grants| grants.check_any(Right::Read, &scopes, &[]))?;
    let mut found = api.registry().settings().list().await?;
    found.retain(|record| {
        let SettingsKey { scope, name } = &record.key;
        let is_asked_for = scopes.is_empty() || scopes.contains(scope);
        is_asked_for && record.value().is_some() && requester.may(Right::Read, scope, name)
    });
    let settings = found.iter().map(|record| Summary {
        name: &record.key.name,
        scope: &record.key.scope,
        version: record.version(),
        has_schema: record.schema.is_some(),
    });
    Ok(Json(Listing { settings: settings.collect() }).into_response())
}

/// `GET`: the settings in force.
pub(crate) async fn read(
    State(api): State<Api>,
    requester: Requester,
    headers: HeaderMap,
    Key(key): Key,
) -> Result<Response, Problem> {
    let record = known(&api, &requester, &key).await?;
    let newest = record.newest().filter(|newest| newest.value.is_some());
    let newest = newest.ok_or(SettingsError::Unknown { key })?;
    let tag = etag::of_number(newest.version);
    Ok(etag::respond(&headers, tag, || Json(Document::of(&record, newest))))
}

/// `GET …/history`: the versions that are kept.
pub(crate) async fn history(
    State(api): State<Api>,
    requester: Requester,
    Key(key): Key,
) -> Result<Response, Problem> {
    let record = known(&api, &requester, &key).await?;
    let versions = record.versions.iter().rev().map(|entry| Document::of(&record, entry));
    Ok(Json(History { versions: versions.collect() }).into_response())
}

/// `GET …/schema`: the schema that new values must meet.
pub(crate) async fn read_schema(
    State(api): State<Api>,
    requester: Requester,
    Key(key): Key,
) -> Result<Response, Problem> {
    let record = known(&api, &requester, &key).await?;
    match &record.schema {
        Some(schema) => Ok(Json(schema).into_response()),
        None => {
            let detail = format!("the settings of {key} have no schema");
            Err(Problem::new(ProblemKind::NoSettings, detail)
                .remedy("set one with `portolan config schema NAME --file FILE`")
                .param("name"))
        }
    }
}

/// `PUT`: replaces the settings as a whole.
pub(crate) async fn replace(
    State(api): State<Api>,
    requester: Requester,
    headers: HeaderMap,
    Key(key): Key,
    Json(value): Json<Value>,
) -> Result<Response, Problem> {
    change(&api, &requester, &headers, key, SettingsChange::Set(value)).await
}

/// `PATCH`: changes some members, by a JSON merge patch.
pub(crate) async fn patch(
    State(api): State<Api>,
    requester: Requester,
    headers: HeaderMap,
    Key(key): Key,
    Json(patch): Json<Value>,
) -> Result<Response, Problem> {
    change(&api, &requester, &headers, key, SettingsChange::Patch(patch)).await
}

/// `DELETE`: deletes the settings. Their versions are kept.
pub(crate) async fn remove(
    State(api): State<Api>,
    requester: Requester,
    headers: HeaderMap,
    Key(key): Key,
) -> Result<Response, Problem> {
    change(&api, &requester, &headers, key, SettingsChange::Delete).await
}

/// `POST …/rollback`: restores an earlier version.
pub(crate) async fn roll_back(
    State(api): State<Api>,
    requester: Requester,
    headers: HeaderMap,
    Key(key): Key,
    Json(Rollback { version }): Json<Rollback>,
) -> Result<Response, Problem> {
    change(&api, &requester, &headers, key, SettingsChange::Rollback(version)).await
}

/// `PUT …/schema`: sets the schema, which the settings in force must meet.
pub(crate) async fn set_schema(
    State(api): State<Api>,
    requester: Requester,
    headers: HeaderMap,
    Key(key): Key,
    Json(schema): Json<Value>,
) -> Result<Response, Problem> {
    change(&api, &requester, &headers, key, SettingsChange::Schema(Some(schema))).await
}

/// `DELETE …/schema`: removes the schema.
pub(crate) async fn remove_schema(
    State(api): State<Api>,
    requester: Requester,
    headers: HeaderMap,
    Key(key): Key,
) -> Result<Response, Problem> {
    change(&api, &requester, &headers, key, SettingsChange::Schema(None)).await
}

/// Reads what may be read.
async fn known(
    api: &Api,
    requester: &Requester,
    key: &SettingsKey,
) -> Result<std::sync::Arc<SettingsRecord>, Problem> {
    requester.check(|grants| grants.check(Right::Read, &key.scope, &key.name))?;
    let record = api.registry().settings().get(key).await?;
    record.ok_or_else(|| SettingsError::Unknown { key: key.clone() }.into())
}

async fn change(
    api: &Api,
    requester: &Requester,
    headers: &HeaderMap,
    key: SettingsKey,
    change: SettingsChange,
) -> Result<Response, Problem> {
    let expected = expected(headers)?;
    let settings = api.registry().settings();
    let changed = settings.change(&key, change, expected, &requester.origin()).await?;
    let SettingsOutcome { record, .. } = &changed;
    let newest = record.newest().ok_or(SettingsError::Unknown { key })?;
    Ok(etag::tagged(etag::of_number(newest.version), Json(Document::of(record, newest))))
}

/// The version on which the change is to be made: that of `If-Match`, or none by `If-None-Match: *`.
fn expected(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let one = |name: &HeaderName, expected: &str| {
        let mut given = headers.get_all(name).iter();
        let Some(value) = given.next() else { return Ok(None) };
        let text = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
        let invalid = || {
            let detail = format!("{} is not supported here, expected {expected}", quoted(&text));
            parameters::invalid(name.as_str(), &detail)
        };
        if given.next().is_some() { Err(invalid()) } else { Ok(Some((text.clone(), invalid()))) }
    };
    let matches = one(&IF_MATCH, "the ETag of a response, such as \"7\"")?;
    let none = one(&IF_NONE_MATCH, "*, for settings that do not exist yet")?;
    match (matches, none) {
        (None, None) => Ok(None),
        (Some((text, invalid)), None) => etag::number(&text).map(Some).ok_or(invalid),
        (None, Some((text, _))) if text == "*" => Ok(Some(0)),
        (None, Some((_, invalid))) => Err(invalid),
        (Some(_), Some(_)) => {
            Err(parameters::invalid("if-none-match", &"given together with if-match")
                .remedy("omit one of them"))
        }
    }
}

// === impl Document ===

impl<'a> Document<'a> {
    fn of(record: &'a SettingsRecord, entry: &'a SettingsEntry) -> Self {
        let SettingsKey { scope, name } = &record.key;
        let SettingsEntry { version, at, author, action, from, value } = entry;
        let (at, author, action) = (Some(*at), Some(author.as_str()), Some(*action));
        Self {
            name,
            scope,
            version: *version,
            at,
            author,
            action,
            from: *from,
            value: value.as_ref(),
        }
    }

    /// What a service has that never had settings.
    fn none(key: &'a SettingsKey) -> Self {
        let SettingsKey { scope, name } = key;
        let (at, author, action, from, value) = (None, None, None, None, None);
        Self { name, scope, version: 0, at, author, action, from, value }
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        use SettingsError as E;
        let kind = match error {
            E::Store(error) => return error.into(),
            E::Denied(_) => ProblemKind::MissingRight,
            E::Unknown { .. } => ProblemKind::NoSettings,
            E::UnknownVersion { .. } => ProblemKind::NoSettingsVersion,
            E::Conflict { .. } => ProblemKind::VersionConflict,
            E::Veto { .. } => ProblemKind::ConfigVeto,
            E::Full { .. } => ProblemKind::Full,
            E::NoValidator | E::NotKept { .. } => ProblemKind::NotSupported,
            // What is added later is a fault of the value, too.
            _ => ProblemKind::BadMember,
        };
        let problem = crate::errors::described(kind, &error);
        match &error {
            E::Schema { violations, .. } => {
                let first = violations.iter().find(|violation| !violation.pointer.is_empty());
                first
                    .into_iter()
                    .fold(problem, |problem, first| problem.pointer(first.pointer.as_str()))
            }
            E::Unknown { .. } => problem.param("name"),
            E::UnknownVersion { .. } => problem.pointer("/version"),
            E::Conflict { .. } => problem.param("if-match"),
            _ => problem,
        }
    }
}
