//! `/api/v1/services`: the registered instances.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::iter;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use http::{HeaderValue, StatusCode};
use portolan_access::Right;
use portolan_core::{
    DeclaredInstance, Registration, Revision, Scope, ServiceEndpoint, ServiceId, Vantage,
    matches_any,
};
use portolan_http::ConnectionInfo;
use portolan_registry::{Command, Query, Registered, RegistryError};
use serde::Serialize;

use crate::body::Json;
use crate::etag::Version;
use crate::lookups::{JSON, Repeatable};
use crate::parameters::{self, Parameters};
use crate::pieces::{self, Pieces, ReadTooSlow};
use crate::problem::{Problem, ProblemKind};
use crate::resources::caller::Requester;
use crate::resources::currency::Currency;
use crate::resources::id::{Id, Owned};
use crate::resources::page::{Cursor, Page};
use crate::resources::server::not_loaded;
use crate::turns::Turns;
use crate::{Api, etag};

/// The header with which a registry that has just started says that its answers are incomplete.
pub(crate) const INCOMPLETE: HeaderName = HeaderName::from_static("portolan-incomplete");

/// The matching instances, and the revision from which a watch sees every later change.
#[derive(Debug, Serialize)]
struct Listing<'a> {
    revision: Revision,
    /// Whether instances may be missing that have not registered again since the registry started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    /// How long ago the list was last known to be current with the store.
    view_age_ms: u64,
    /// Whether that is longer than it may be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    /// Whether other hosts reach the registry, and it requires no token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open_to_network: bool,
    /// The scope of the registry's stack, if only the stack changes its services.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<&'a Scope>,
    /// The parameter `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a Cursor>,
    /// Encoded separately, in pieces.
    services: [(); 0],
    /// The instances of the registry's stack that are not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    declared: Vec<DeclaredInstance>,
}

/// An encoded list.
#[derive(Debug)]
enum Encoded {
    /// It has a length, which clients like to know.
    Whole(Bytes),
    /// It is encoded while the client reads it.
    Long { begin: [Option<Result<Bytes, ReadTooSlow>>; 2], rest: Box<Pieces> },
}

// === impl Encoded ===

impl Encoded {
    fn into_response(self, turns: &Turns) -> Response {
        let body = match self {
            Self::Whole(whole) => Body::from(whole),
            Self::Long { begin, rest } => {
                Body::from_stream(iter(begin.into_iter().flatten()).chain(turns.of(rest)))
            }
        };
        ([(CONTENT_TYPE, JSON)], body).into_response()
    }
}

/// `GET /api/v1/services`: the instances that match every condition.
pub(crate) async fn list(
    State(api): State<Api>,
    Extension(connection): Extension<ConnectionInfo>,
    requester: Requester,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let (query, page) = query(parameters)?;
    requester.check(|grants| grants.check_any(Right::Read, &query.scopes, &query.names))?;
    // Before the lookup, because one of all services takes as long as an answer.
    let turn = if query.names.is_empty() { api.turns().next().await } else { None };
    // Before the lookup, so that a complete answer has everything.
    let incomplete = api.registry().is_incomplete();
    let currency = Currency::of(&api);
    let repeatable = raw.and_then(|raw| Repeatable::new(&api, raw, &query, &requester));
    let (mut found, revision) = api.registry().lookup(&query);
    found.retain(|one| requester.may(Right::Read, &one.scope, &one.name));
    let (found, next) = page.of(found);
    let vantage = requester.vantage();
    let mut declared = not_ready(&api, &query);
    declared.retain(|one| requester.may(Right::Read, &one.scope, &one.name));
    let identity = requester.identity();
    let version = Version { revision, vantage, identity, incomplete, declared: &declared };
    let _turn = match turn {
        None if pieces::is_long(&found) => api.turns().next().await,
        turn => turn,
    };
    let tag = version.tag();
    let mut response = match etag::matches(&headers, &tag) {
        true => etag::tagged(tag, StatusCode::NOT_MODIFIED),
        false => {
            let Currency { view_age_ms, stale } = currency;
            let listing = Listing {
                revision,
                incomplete,
                view_age_ms,
                stale,
                open_to_network: api.is_open_to_network(),
                stack: api.own_stack(),
                next: next.as_ref(),
                services: [],
                declared,
            };
            let is_found = !found.is_empty();
            let encoded = encode(&listing, found, vantage, &connection)?;
            if let (Some(repeatable), Encoded::Whole(body)) = (repeatable, &encoded) {
                repeatable.keep(&api, vantage, &tag, body, is_found);
            }
            etag::tagged(tag, encoded.into_response(api.turns()))
        }
    };
    mark_incomplete(&mut response, incomplete);
    currency.mark(&mut response);
    Ok(response)
}

/// Encodes the list; a long one while the client reads it.
fn encode(
    listing: &Listing<'_>,
    found: Vec<Arc<ServiceEndpoint>>,
    vantage: Vantage,
    connection: &ConnectionInfo,
) -> Result<Encoded, Problem> {
    let around = pieces::around(listing, "services").ok_or_else(|| {
        Problem::new(ProblemKind::Internal, "the response could not be serialised")
            .remedy("report it with the log of the server")
    })?;
    let mut pieces = Pieces::new(around, found, vantage, connection)?;
    Ok(match (pieces.next(), pieces.next()) {
        (Some(Ok(whole)), None) => Encoded::Whole(whole),
        (first, second) => Encoded::Long { begin: [first, second], rest: Box::new(pieces) },
    })
}

/// Returns the declared instances that are not ready and match. They have a name, a scope and a state only,
/// so that a query for anything else matches none.
fn not_ready(api: &Api, query: &Query) -> Vec<DeclaredInstance> {
    let Query { names, scopes, health, protocol, version, metadata } = query;
    let is_narrower = !health.is_empty() || protocol.is_some() || version.is_some();
    if is_narrower || !metadata.is_empty() {
        return Vec::new();
    }
    api.not_ready(|one| matches_any(names, &one.name) && matches_any(scopes, &one.scope))
}

/// Sets the header of an incomplete answer.
pub(crate) fn mark_incomplete(response: &mut Response, incomplete: bool) {
    if incomplete {
        response.headers_mut().insert(INCOMPLETE, HeaderValue::from_static("true"));
    }
}

/// `POST /api/v1/services`: registers an instance, under the given id or a derived one.
pub(crate) async fn create(
    State(api): State<Api>,
    requester: Requester,
    Json(registration): Json<Registration>,
) -> Result<Response, Problem> {
    register(&api, &requester, registration).await
}

/// Returns an instance, or says that there is none, or that the registry does not know yet.
pub(crate) fn find(api: &Api, id: &ServiceId) -> Result<Arc<ServiceEndpoint>, Problem> {
    // Before the state is read, which may be loaded in between.
    let not_loaded = not_loaded(api.registry());
    let unknown = || not_loaded.unwrap_or_else(|| RegistryError::Unknown { id: id.clone() }.into());
    api.registry().get(id).ok_or_else(unknown)
}

/// `GET /api/v1/services/{id}`: one instance.
pub(crate) async fn read(
    State(api): State<Api>,
    requester: Requester,
    headers: HeaderMap,
    Id(id): Id,
) -> Result<Response, Problem> {
    let currency = Currency::of(&api);
    let endpoint = find(&api, &id)?;
    requester.check(|grants| grants.check(Right::Read, &endpoint.scope, &endpoint.name))?;
    let seen = requester.reach(&endpoint)?;
    let (revision, vantage) = (endpoint.revision, requester.vantage());
    let identity = requester.identity();
    let version = Version { revision, vantage, identity, incomplete: false, declared: &[] };
    let mut response = etag::respond(&headers, version.tag(), || Json(seen));
    currency.mark(&mut response);
    Ok(response)
}

/// `PUT /api/v1/services/{id}`: registers an instance under this id.
pub(crate) async fn replace(
    State(api): State<Api>,
    requester: Requester,
    Id(id): Id,
    Json(mut registration): Json<Registration>,
) -> Result<Response, Problem> {
    match registration.id.replace(id.clone()) {
        Some(other) if other != id => Err(conflicting_ids(&id, &other)),
        _ => register(&api, &requester, registration).await,
    }
}

/// `DELETE /api/v1/services/{id}`: removes an instance.
pub(crate) async fn remove(
    State(api): State<Api>,
    requester: Requester,
    Owned(target): Owned,
) -> Result<StatusCode, Problem> {
    api.registry().execute(Command::Deregister(target), requester.origin()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn register(
    api: &Api,
    requester: &Requester,
    registration: Registration,
) -> Result<Response, Problem> {
    let Registered { endpoint, created, .. } =
        api.registry().register(registration, requester.origin()).await?;
    let location = HeaderValue::try_from(format!("/api/v1/services/{}", endpoint.id));
    let mut response = (status(created), Json(endpoint)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Returns 201 for a new instance and 200 for a replaced one.
pub(crate) fn status(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}

fn conflicting_ids(path: &ServiceId, body: &ServiceId) -> Problem {
    let detail = format!("the id is {path} in the path and {body} in the body");
    Problem::new(ProblemKind::BadMember, detail).remedy("omit the id in the body").pointer("/id")
}

fn query(mut parameters: Parameters) -> Result<(Query, Page), Problem> {
    let query = Query {
        names: parameters.list("name")?,
        scopes: scopes(&mut parameters)?,
        health: parameters.list("health")?,
        protocol: parameters.optional("protocol")?,
        version: parameters.optional("version")?,
        metadata: parameters.metadata()?,
    };
    let page = Page::take(&mut parameters)?;
    parameters.finish(&[
        "name", "scope", "health", "protocol", "version", "meta.KEY", "limit", "after",
    ])?;
    Ok((query, page))
}

/// Takes the scopes. In JSON the scope is a metadata entry, so `meta.scope` is accepted too.
pub(crate) fn scopes(parameters: &mut Parameters) -> Result<Vec<Scope>, Problem> {
    const METADATA_KEY: &str = "meta.scope";
    let scopes: Vec<Scope> = parameters.list("scope")?;
    match parameters.optional(METADATA_KEY)? {
        Some(_) if !scopes.is_empty() => {
            Err(parameters::invalid(METADATA_KEY, &"given together with scope")
                .remedy("omit one of them"))
        }
        Some(scope) => Ok(vec![scope]),
        None => Ok(scopes),
    }
}
