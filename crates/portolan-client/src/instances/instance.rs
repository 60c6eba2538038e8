//! One instance of the set: what the client knows of it, and its load.

use std::sync::Arc;

use portolan_core::{HealthStatus, ServiceEndpoint};

use crate::locality::{Locality, is_on_this_host};
use crate::proof::Proof;
use crate::select::Suspects;
use crate::strategy::Candidate;

use super::load::InstanceLoad;

/// The metadata entry with the weight of an instance.
const WEIGHT: &str = "weight";

/// An instance of a service, and its load.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) endpoint: Arc<ServiceEndpoint>,
    pub(crate) weight: u16,
    pub(crate) load: Arc<InstanceLoad>,
    priority: u16,
    proof: Proof,
    /// Whether it is on this host. Looked up once: that takes a system call.
    is_on_this_host: bool,
}

// === impl Instance ===

impl Instance {
    /// Describes a candidate. What was measured stays, unless the instance has moved or was restarted.
    pub(crate) fn new(candidate: &Candidate, known: Option<&Instance>) -> Self {
        let Candidate { endpoint, priority, weight, proof, .. } = candidate;
        let same = known.filter(|known| is_same_run(&known.endpoint, endpoint));
        let given = endpoint.metadata.get(WEIGHT).and_then(|weight| weight.parse().ok());
        Self {
            endpoint: Arc::clone(endpoint),
            weight: given.filter(|_| *weight == 1).unwrap_or(*weight),
            load: same.map(|known| Arc::clone(&known.load)).unwrap_or_default(),
            priority: *priority,
            proof: *proof,
            is_on_this_host: match same {
                Some(known) => known.is_on_this_host,
                None => is_on_this_host(endpoint),
            },
        }
    }

    /// Returns how usable the instance is; lower is better. As for a single lookup, one that is about to stop is the last
    /// resort, and before it one to which a caller could not connect, and one that is critical.
    ///
    /// Instances of different proofs are equal: each is an instance of the service. But a lease alone does not say that its
    /// program listens already.
    pub(crate) fn tier(&self, suspects: &Suspects) -> impl Ord + Copy + use<> {
        let endpoint = &self.endpoint;
        let is_suspect = suspects.contains(&endpoint.id);
        let is_critical = endpoint.health == HealthStatus::Critical;
        let is_unchecked = endpoint.health == HealthStatus::Unknown
            && (self.proof == Proof::Leased || endpoint.is_checked());
        (endpoint.is_draining(), is_suspect, is_critical, is_unchecked, self.priority)
    }

    /// Returns how far away the instance is; see [`Locality::distance`].
    pub(crate) fn distance(&self, locality: &Locality) -> u8 {
        locality.distance(&self.endpoint, || self.is_on_this_host)
    }
}

fn is_same_run(known: &ServiceEndpoint, now: &ServiceEndpoint) -> bool {
    (&known.host, known.port, known.incarnation) == (&now.host, now.port, now.incarnation)
}
