//! The caller of a request, and what it may see.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use portolan_access::{Denied, Grants, Right};
use portolan_core::{NETWORK_ID_HEADER, Revision, Scope, ServiceEndpoint, ServiceName, Vantage};
use portolan_http::{Caller, ConnectionInfo, Principal, RequestError};
use portolan_registry::CommandOrigin;

use crate::Api;
use crate::problem::{Problem, ProblemKind};

/// An extractor of the host that makes the request, and of what its client may do.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    caller: Caller,
    /// `None`: everything.
    grants: Option<Arc<Grants>>,
}

impl FromRequestParts<Api> for Requester {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let connection = parts.extensions.get::<ConnectionInfo>().ok_or_else(|| {
            Problem::new(ProblemKind::Internal, "the connection of the request is unknown")
        })?;
        let caller = caller_of(parts, connection, api);
        let grants = parts.extensions.get().and_then(Principal::grants).cloned();
        Ok(Self { caller, grants })
    }
}

/// Returns the host that makes the request.
pub(crate) fn caller_of(parts: &Parts, connection: &ConnectionInfo, api: &Api) -> Caller {
    let caller = Caller::new(connection.peer(), &parts.headers, api.proxies());
    let network = parts.headers.get(NETWORK_ID_HEADER);
    let is_tunneled = caller.vantage() == Vantage::SameHost
        && network.is_some_and(|id| !api.is_own_network(id.as_bytes()));
    if is_tunneled { Caller::UNKNOWN } else { caller }
}

// === impl Requester ===

impl Requester {
    pub(crate) fn vantage(&self) -> Vantage {
        self.caller.vantage()
    }

    /// The origin of the commands in the request.
    pub(crate) fn origin(&self) -> CommandOrigin {
        CommandOrigin::api(self.caller.address()).limited_to(self.grants.clone())
    }

    /// The identity of the client, and since when it has its rights, if they are limited.
    pub(crate) fn identity(&self) -> Option<(&str, Revision)> {
        self.grants.as_ref().map(|grants| (grants.identity(), grants.since()))
    }

    /// Whether the client has the right to this service.
    pub(crate) fn may(&self, right: Right, scope: &Scope, name: &ServiceName) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.permit(right, scope, name))
    }

    /// Checks what the client may do, if that is limited.
    pub(crate) fn check(
        &self,
        check: impl FnOnce(&Grants) -> Result<(), Denied>,
    ) -> Result<(), Problem> {
        let checked = self.grants.as_deref().map_or(Ok(()), check);
        checked.map_err(|denied| RequestError::from(denied).into())
    }

    /// Returns the endpoint with an address that the caller can reach.
    pub(crate) fn reach(&self, endpoint: &ServiceEndpoint) -> Result<ServiceEndpoint, Problem> {
        endpoint.seen_from(self.vantage()).ok_or_else(|| unreachable(endpoint, self.caller))
    }
}

fn unreachable(endpoint: &ServiceEndpoint, caller: Caller) -> Problem {
    let ServiceEndpoint { id, .. } = endpoint;
    let address = endpoint.address();
    let problem = |detail| Problem::new(ProblemKind::OutOfReach, detail).param("id");
    match caller.address() {
        Some(caller) => problem(format!(
            "{id} listens at {address} on the host of the registry, which {caller} cannot reach"
        ))
        .remedy("let the service listen on an address of its host, and register that"),
        None => problem(format!(
            "{id} listens at {address} on the host of the registry, and a proxy or a tunnel hides the host of the caller"
        ))
        .remedy(
            "list the proxy in service_registry.trusted_proxies and let it set X-Forwarded-For, or ask without it",
        ),
    }
}
