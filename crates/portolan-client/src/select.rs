//! Chooses among instances: well before ill, near before far, and in turn among equals.

use std::time::Duration;

use portolan_core::{HealthStatus, ServiceEndpoint, ServiceId};
use quick_cache::sync::Cache;
use rand::RngExt;
use tokio::time::Instant;

use crate::strategy::Candidate;

/// How long an instance that a caller could not connect to goes last. Default of most load
/// balancers: long enough for a restart, short enough to come back to it.
const SUSPICION: Duration = Duration::from_secs(30);
/// How many instances are remembered as suspect.
const MAX_SUSPECTS: usize = 1_000;

/// Instances that a caller could not connect to a moment ago.
pub(crate) struct Suspects(Cache<ServiceId, Instant>);

// === impl Suspects ===

impl Suspects {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MAX_SUSPECTS))
    }

    /// The instance goes last for a while.
    pub(crate) fn suspect(&self, id: &ServiceId) {
        self.0.insert(id.clone(), Instant::now() + SUSPICION);
    }

    /// The instance was heard to be well.
    pub(crate) fn clear(&self, id: &ServiceId) {
        self.0.remove(id);
    }

    pub(crate) fn contains(&self, id: &ServiceId) -> bool {
        !self.0.is_empty() && self.0.get(id).is_some_and(|until| until > Instant::now())
    }
}

/// One of the best instances, chosen at random by weight; none where there is none at all.
pub(crate) fn one<'a>(candidates: &'a [Candidate], suspects: &Suspects) -> Option<&'a Candidate> {
    let best = candidates.iter().map(|c| rank(c, suspects)).min()?;
    let equals = || candidates.iter().filter(|c| rank(c, suspects) == best);
    // A weight of 0 is a small chance, not none (RFC 2782).
    let weight = |candidate: &Candidate| u32::from(candidate.weight) * 100 + 1;
    let mut left = rand::rng().random_range(0..equals().map(weight).sum::<u32>());
    equals().find(|candidate| match left.checked_sub(weight(candidate)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// Every instance, the best first.
pub(crate) fn all(candidates: &[Candidate], suspects: &Suspects) -> Vec<ServiceEndpoint> {
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    ordered.sort_by_key(|candidate| rank(candidate, suspects));
    ordered.into_iter().map(|candidate| (*candidate.endpoint).clone()).collect()
}

/// Whether all of them are suspect, so that it is time to ask again.
pub(crate) fn all_suspect(candidates: &[Candidate], suspects: &Suspects) -> bool {
    candidates.iter().all(|candidate| suspects.contains(&candidate.endpoint.id))
}

/// Lower is better.
fn rank(candidate: &Candidate, suspects: &Suspects) -> (bool, HealthStatus, u16) {
    let endpoint = &candidate.endpoint;
    (suspects.contains(&endpoint.id), endpoint.health, candidate.priority)
}

#[cfg(test)]
mod tests;
