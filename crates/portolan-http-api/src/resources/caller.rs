//! The caller of a request, and what it may see.

use axum::extract::FromRequestParts;
use http::request::Parts;
use portolan_core::{NETWORK_ID_HEADER, ServiceEndpoint, Vantage};
use portolan_http::{Caller, ConnectionInfo};
use portolan_registry::CommandOrigin;

use crate::Api;
use crate::problem::{Problem, ProblemKind};

/// An extractor of the host that makes the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requester(Caller);

impl FromRequestParts<Api> for Requester {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let connection = parts.extensions.get::<ConnectionInfo>().ok_or_else(|| {
            Problem::new(ProblemKind::Internal, "the connection of the request is unknown")
        })?;
        let caller = Caller::new(connection.peer(), &parts.headers, api.proxies());
        let network = parts.headers.get(NETWORK_ID_HEADER);
        let is_tunneled = caller.vantage() == Vantage::SameHost
            && network.is_some_and(|id| !api.is_own_network(id.as_bytes()));
        Ok(Self(if is_tunneled { Caller::UNKNOWN } else { caller }))
    }
}

// === impl Requester ===

impl Requester {
    pub(crate) fn vantage(self) -> Vantage {
        self.0.vantage()
    }

    /// The origin of the commands in the request.
    pub(crate) fn origin(self) -> CommandOrigin {
        CommandOrigin::api(self.0.address())
    }

    /// Returns the endpoint with an address that the caller can reach.
    pub(crate) fn reach(self, endpoint: &ServiceEndpoint) -> Result<ServiceEndpoint, Problem> {
        endpoint.seen_from(self.vantage()).ok_or_else(|| unreachable(endpoint, self.0))
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
        .remedy("list the proxy in service_registry.trusted_proxies, or ask without it"),
    }
}
