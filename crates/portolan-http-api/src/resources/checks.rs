//! `/api/v1/checks`: the last results of health checks, as far as this server knows them, and late heartbeats.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use portolan_access::Right;
use portolan_core::{CheckResults, ServiceId};
use portolan_registry::Query;
use serde::Serialize;

use crate::Api;
use crate::body::Json;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::resources::caller::Requester;
use crate::resources::services::scopes;

/// More results than there are instances, before those of instances that are gone are removed.
const SLACK: usize = 1024;

/// The results by instance.
#[derive(Debug, Serialize)]
pub(crate) struct Checks {
    checks: BTreeMap<ServiceId, CheckResults>,
    /// The instances whose heartbeat is late, although their lease has not ended; absent if there are none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    heartbeat_late: BTreeSet<ServiceId>,
}

/// `GET`: the results of the instances that match every condition.
pub(crate) async fn list(
    State(api): State<Api>,
    requester: Requester,
    mut parameters: Parameters,
) -> Result<Json<Checks>, Problem> {
    let (names, scopes) = (parameters.list("name")?, scopes(&mut parameters)?);
    parameters.finish(&["name", "scope"])?;
    requester.check(|grants| grants.check_any(Right::Read, &scopes, &names))?;
    let query = Query { names, scopes, ..Query::default() };
    let (mut found, _) = api.registry().lookup(&query);
    found.retain(|one| {
        requester.may(Right::Read, &one.scope, &one.name) && requester.reach(one).is_ok()
    });
    let results = |id: &ServiceId| Some((id.clone(), api.last_results().get(id)?));
    let checks = found.iter().filter_map(|endpoint| results(&endpoint.id)).collect();
    let late = found.iter().filter(|endpoint| api.registry().is_heartbeat_late(&endpoint.id));
    let heartbeat_late = late.map(|endpoint| endpoint.id.clone()).collect();
    Ok(Json(Checks { checks, heartbeat_late }))
}

/// Keeps the results that the agent of an instance reports. The registry's own are not replaced.
pub(crate) fn keep(api: &Api, id: &ServiceId, results: Option<CheckResults>) {
    let Some(results) = results else { return };
    let registry = api.registry();
    if !registry.get(id).is_some_and(|endpoint| endpoint.is_checked_by_agent()) {
        return;
    }
    let kept = api.last_results();
    if kept.len() > registry.count() + SLACK {
        kept.retain(|id| registry.get(id).is_some());
    }
    kept.set(id.clone(), results);
}
