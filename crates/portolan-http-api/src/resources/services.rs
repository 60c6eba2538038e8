//! `/api/v1/services`: the registered instances.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::{HeaderMap, LOCATION};
use http::{HeaderValue, StatusCode};
use portolan_core::{Registration, Revision, Scope, ServiceEndpoint, ServiceId};
use portolan_http::ConnectionInfo;
use portolan_registry::{CommandOrigin, Query, Registered, RegistryError};
use serde::Serialize;

use crate::body::Json;
use crate::parameters::{self, Parameters};
use crate::problem::{Problem, ProblemKind};
use crate::resources::id::Id;
use crate::{Api, etag};

/// The matching instances, and the revision from which a watch sees every later change.
#[derive(Debug, Serialize)]
struct Listing {
    revision: Revision,
    services: Vec<Arc<ServiceEndpoint>>,
}

/// `GET /api/v1/services`: the instances that match every condition.
pub(crate) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let (services, revision) = api.registry().lookup(&query(parameters)?);
    Ok(etag::respond(&headers, revision, || Json(Listing { revision, services })))
}

/// `POST /api/v1/services`: registers an instance, under the given id or a derived one.
pub(crate) async fn create(
    State(api): State<Api>,
    Extension(connection): Extension<ConnectionInfo>,
    Json(registration): Json<Registration>,
) -> Result<Response, Problem> {
    register(&api, &connection, registration).await
}

/// `GET /api/v1/services/{id}`: one instance.
pub(crate) async fn read(
    State(api): State<Api>,
    headers: HeaderMap,
    Id(id): Id,
) -> Result<Response, Problem> {
    let endpoint = api.registry().get(&id).ok_or(RegistryError::Unknown { id })?;
    Ok(etag::respond(&headers, endpoint.revision, || Json(Arc::clone(&endpoint))))
}

/// `PUT /api/v1/services/{id}`: registers an instance under this id.
pub(crate) async fn replace(
    State(api): State<Api>,
    Extension(connection): Extension<ConnectionInfo>,
    Id(id): Id,
    Json(mut registration): Json<Registration>,
) -> Result<Response, Problem> {
    match registration.id.replace(id.clone()) {
        Some(other) if other != id => Err(conflicting_ids(&id, &other)),
        _ => register(&api, &connection, registration).await,
    }
}

/// `DELETE /api/v1/services/{id}`: removes an instance.
pub(crate) async fn remove(State(api): State<Api>, Id(id): Id) -> Result<StatusCode, Problem> {
    api.registry().deregister(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn register(
    api: &Api,
    connection: &ConnectionInfo,
    registration: Registration,
) -> Result<Response, Problem> {
    let origin = CommandOrigin::api(connection.peer().host());
    let Registered { endpoint, created, .. } =
        api.registry().register(registration, origin).await?;
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

fn query(mut parameters: Parameters) -> Result<Query, Problem> {
    let query = Query {
        names: parameters.list("name")?,
        scopes: scopes(&mut parameters)?,
        health: parameters.list("health")?,
        protocol: parameters.optional("protocol")?,
        version: parameters.optional("version")?,
        metadata: parameters.metadata()?,
    };
    parameters.finish(&["name", "scope", "health", "protocol", "version", "meta.KEY"])?;
    Ok(query)
}

/// Takes the scopes. In JSON the scope is a metadata entry, so `meta.scope` is accepted too.
fn scopes(parameters: &mut Parameters) -> Result<Vec<Scope>, Problem> {
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
