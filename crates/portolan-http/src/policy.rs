//! What a server allows, and the state that its listeners share.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use parking_lot::RwLock;
use portolan_core::IpNetwork;
use portolan_metrics::Metrics;

use crate::IdentityUsages;
use crate::clients::Clients;
use crate::{AllowedHosts, Caller, ClientLimits, HttpLimits, Peer, RequestError};

/// What a server allows its clients.
#[derive(Debug, Clone, Default)]
pub struct HttpPolicy {
    /// The limits of each connection and request.
    pub limits: HttpLimits,
    /// The hosts that requests may name.
    pub hosts: AllowedHosts,
    /// How much each client may use.
    pub clients: ClientLimits,
    /// The proxies whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<IpNetwork>,
    /// Where rejected requests are counted.
    pub metrics: Metrics,
}

/// The policy of a server and what its clients use at the moment. Listeners of one server share it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpState(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: HttpPolicy,
    hosts: RwLock<AllowedHosts>,
    clients: Arc<Clients>,
    identities: Arc<IdentityUsages>,
}

// === impl HttpState ===

impl HttpState {
    pub(crate) fn limits(&self) -> &HttpLimits {
        &self.0.policy.limits
    }

    /// Replaces the hosts that requests may name, and how much each client may use. What is in use stays so.
    pub fn replace(&self, hosts: AllowedHosts, clients: ClientLimits) {
        *self.0.hosts.write() = hosts;
        self.0.clients.replace_limits(clients);
    }

    /// Checks the host and the origin that a request names.
    pub(crate) fn check_host(&self, request: &Parts, peer: &Peer) -> Result<(), RequestError> {
        self.0.hosts.read().check(request, peer)
    }

    /// The host of the client, if the request came through a proxy that is trusted.
    pub(crate) fn forwarded_client(&self, peer: &Peer, headers: &HeaderMap) -> Option<IpAddr> {
        let caller = Caller::new(peer, headers, &self.0.policy.trusted_proxies).address();
        caller.filter(|caller| *caller != peer.host())
    }

    /// Whether the peer forwards the requests of others.
    pub(crate) fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        self.0.policy.trusted_proxies.iter().any(|proxy| proxy.contains(peer))
    }

    pub(crate) fn clients(&self) -> &Arc<Clients> {
        &self.0.clients
    }

    pub(crate) fn identities(&self) -> &Arc<IdentityUsages> {
        &self.0.identities
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.policy.metrics
    }
}

impl From<HttpPolicy> for HttpState {
    fn from(policy: HttpPolicy) -> Self {
        // The rest is for requests that end.
        let streams = policy.limits.connections / 5 * 4;
        let clients = Arc::new(Clients::new(policy.clients.clone(), streams));
        let hosts = RwLock::new(policy.hosts.clone());
        Self(Arc::new(Inner { policy, hosts, clients, identities: Arc::default() }))
    }
}

impl From<HttpLimits> for HttpState {
    fn from(limits: HttpLimits) -> Self {
        HttpPolicy { limits, ..HttpPolicy::default() }.into()
    }
}
