//! `/api/v1/services`: the instances.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::{HeaderMap, LOCATION};
use http::{HeaderValue, StatusCode};
use portolan_core::{Registration, Revision, Scope, ServiceEndpoint, ServiceId};
use portolan_registry::{Origin, Query, Registered, RegistryError};
use serde::Serialize;

use crate::body::Json;
use crate::connection::Caller;
use crate::parameters::{self, Parameters};
use crate::problem::{Kind, Problem};
use crate::resources::id::Id;
use crate::{Api, etag};

/// Instances, and the revision at which that is so: a watch can go on from there.
#[derive(Debug, Serialize)]
struct Listing {
    revision: Revision,
    services: Vec<Arc<ServiceEndpoint>>,
}

/// `GET /api/v1/services`: the instances that meet every condition.
pub(crate) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let (services, revision) = api.registry().lookup(&query(parameters)?);
    Ok(etag::answer(&headers, revision, || Json(Listing { revision, services })))
}

/// `POST /api/v1/services`: registers an instance, under an id of its own or a derived one.
pub(crate) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Json(registration): Json<Registration>,
) -> Result<Response, Problem> {
    register(&api, &caller, registration).await
}

/// `GET /api/v1/services/{id}`: one instance.
pub(crate) async fn read(
    State(api): State<Api>,
    headers: HeaderMap,
    Id(id): Id,
) -> Result<Response, Problem> {
    let endpoint = api.registry().get(&id).ok_or(RegistryError::Unknown { id })?;
    Ok(etag::answer(&headers, endpoint.revision, || Json(Arc::clone(&endpoint))))
}

/// `PUT /api/v1/services/{id}`: registers an instance under this id.
pub(crate) async fn replace(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Id(id): Id,
    Json(mut registration): Json<Registration>,
) -> Result<Response, Problem> {
    match registration.id.replace(id.clone()) {
        Some(other) if other != id => Err(two_ids(&id, &other)),
        _ => register(&api, &caller, registration).await,
    }
}

/// `DELETE /api/v1/services/{id}`: removes an instance.
pub(crate) async fn remove(State(api): State<Api>, Id(id): Id) -> Result<StatusCode, Problem> {
    api.registry().deregister(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn register(
    api: &Api,
    caller: &Caller,
    registration: Registration,
) -> Result<Response, Problem> {
    let origin = Origin::api(caller.machine());
    let Registered { endpoint, created, .. } =
        api.registry().register(registration, origin).await?;
    let location = HeaderValue::try_from(format!("/api/v1/services/{}", endpoint.id));
    let mut response = (status(created), Json(endpoint)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// 201 for what is new, 200 for what was there before.
pub(crate) fn status(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}

fn two_ids(path: &ServiceId, body: &ServiceId) -> Problem {
    let detail =
        format!("the path says {path} and the body says {body}; leave the id of the body out");
    Problem::new(Kind::BadMember, detail).pointer("/id".into())
}

fn query(mut parameters: Parameters) -> Result<Query, Problem> {
    let query = Query {
        names: parameters.list("name")?,
        scopes: scopes(&mut parameters)?,
        health: parameters.list("health")?,
        protocol: parameters.one("protocol")?,
        version: parameters.one("version")?,
        metadata: parameters.metadata()?,
    };
    parameters.finish(&["name", "scope", "health", "protocol", "version", "meta.KEY"])?;
    Ok(query)
}

/// The scopes asked for. In JSON a scope stands in the metadata, so it may be asked for there.
fn scopes(parameters: &mut Parameters) -> Result<Vec<Scope>, Problem> {
    const CARRIED: &str = "meta.scope";
    let scopes: Vec<Scope> = parameters.list("scope")?;
    match parameters.one(CARRIED)? {
        Some(_) if !scopes.is_empty() => {
            Err(parameters::bad(CARRIED, &"scope says the same; leave one of them out"))
        }
        Some(carried) => Ok(vec![carried]),
        None => Ok(scopes),
    }
}
