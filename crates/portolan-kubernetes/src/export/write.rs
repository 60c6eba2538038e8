//! Requests that change objects of the cluster, each under the condition that the object is as it was last seen.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::request::Request;
use kube::{Api, Client, Error, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

/// The name under which the API server notes who set a member.
const FIELD_MANAGER: &str = "portolan-kubernetes";
/// How long an answer of the API server is awaited.
const LIMIT: Duration = Duration::from_secs(5);

/// Waits for an answer of the API server, but not for ever.
pub(crate) async fn bounded<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || {
        let text = format!("the API server has not answered within {LIMIT:?}");
        Error::Service(io::Error::new(io::ErrorKind::TimedOut, text).into())
    };
    timeout(LIMIT, answer).await.unwrap_or_else(|_| Err(late()))
}

/// Creates an object, or changes the members of the known one.
pub(crate) async fn put<K>(
    client: &Client,
    api: &Api<K>,
    known: Option<&K>,
    content: &Value,
) -> Result<K, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let Some(known) = known else {
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let body = serde_json::to_vec(content).map_err(Error::SerdeError)?;
        let request = Request::new(api.resource_url()).create(&parameters, body);
        return bounded(client.request(request.map_err(Error::BuildRequest)?)).await;
    };
    let mut patch = content.clone();
    // An object that another client has replaced or changed meanwhile is kept.
    patch["metadata"]["resourceVersion"] = json!(known.resource_version());
    patch["metadata"]["uid"] = json!(known.uid());
    let parameters =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    bounded(api.patch(&known.name_any(), &parameters, &Patch::Merge(patch))).await
}

/// Deletes this very object. One that is gone already is no error.
pub(crate) async fn delete<K>(api: &Api<K>, known: &K) -> Result<(), Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let preconditions =
        Preconditions { uid: known.uid(), resource_version: known.resource_version() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match bounded(api.delete(&known.name_any(), &parameters)).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
