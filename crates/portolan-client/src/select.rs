//! Selection among candidates: by proof, by health, by priority, by distance, then at random by weight.

mod best;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portolan_core::{HealthStatus, ServiceEndpoint, ServiceId};
use quick_cache::sync::Cache;
use rand::RngExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::locality::{Locality, is_on_this_host};
use crate::strategy::Candidate;

pub(crate) use best::Best;

/// How long an instance is avoided after a reported failure: the usual ejection time of load
/// balancers, long enough for a restart.
const SUSPICION: Duration = Duration::from_secs(30);
/// The maximum number of suspects.
const MAX_SUSPECTS: usize = 1_000;

/// Instances to which a caller failed to connect recently (passive outlier detection).
pub(crate) struct Suspects {
    until: Cache<ServiceId, Instant>,
    /// Whether there may be a suspect, for the hot path.
    any: AtomicBool,
    /// Tells the sets of instances that there is a new suspect, or one less.
    changed: watch::Sender<()>,
}

// === impl Suspects ===

impl Suspects {
    pub(crate) fn new() -> Self {
        let until = Cache::new(MAX_SUSPECTS);
        Self { until, any: AtomicBool::new(false), changed: watch::Sender::new(()) }
    }

    /// Marks an instance as suspect for a while.
    pub(crate) fn insert(&self, id: &ServiceId) {
        self.until.insert(id.clone(), Instant::now() + SUSPICION);
        self.any.store(true, Ordering::Release);
        self.changed.send_replace(());
    }

    /// Clears an instance that reported to be healthy.
    pub(crate) fn remove(&self, id: &ServiceId) {
        if self.until.remove(id).is_some() {
            self.changed.send_replace(());
        }
    }

    /// Returns whether no instance is suspect. If it says that one may be, [`Self::forget_ended`] finds out.
    pub(crate) fn are_none(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Forgets the suspicions that have ended.
    pub(crate) fn forget_ended(&self) {
        // A suspect that is added meanwhile sets it again.
        self.any.store(false, Ordering::Release);
        let now = Instant::now();
        self.until.retain(|_, until| *until > now);
        if !self.until.is_empty() {
            self.any.store(true, Ordering::Release);
        }
    }

    pub(crate) fn contains(&self, id: &ServiceId) -> bool {
        !self.are_none() && self.until.get(id).is_some_and(|until| until > Instant::now())
    }

    /// Returns a receiver that learns of each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns when the next suspicion ends.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        let now = Instant::now();
        self.until.iter().map(|(_, until)| until).filter(|until| *until > now).min()
    }
}

/// Returns one of the nearest of the best candidates, at random by weight; `None` without candidates.
pub(crate) fn one<'a>(
    candidates: &'a [Candidate],
    suspects: &Suspects,
    locality: &Locality,
) -> Option<&'a Candidate> {
    let rank = |candidate: &Candidate| rank(candidate, |id| suspects.contains(id));
    let best = candidates.iter().map(rank).min()?;
    let equals = || candidates.iter().filter(|candidate| rank(candidate) == best);
    if locality.is_none() {
        return at_random(equals);
    }
    let near = nearest(equals(), locality);
    at_random(|| near.iter().copied())
}

/// Returns the nearest of these.
fn nearest<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    locality: &Locality,
) -> Vec<&'a Candidate> {
    let mut near: Vec<_> = candidates.map(|it| (distance(it, locality), it)).collect();
    let least = near.iter().map(|(distance, _)| *distance).min();
    near.retain(|(distance, _)| Some(*distance) == least);
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Returns one of these, at random by weight.
fn at_random<'a, I>(equals: impl Fn() -> I) -> Option<&'a Candidate>
where
    I: Iterator<Item = &'a Candidate> + Clone,
{
    let weights = equals().map(|candidate| candidate.weight);
    equals().nth(by_weight(weights, |bound| rand::rng().random_range(0..bound)))
}

/// Returns the index of one of the weights, at random in proportion to them. A weight of 0 means a small probability, not
/// zero (RFC 2782).
pub(crate) fn by_weight(
    weights: impl Iterator<Item = u16> + Clone,
    random_below: impl Fn(u32) -> u32,
) -> usize {
    let weights = weights.map(|weight| u32::from(weight) * 100 + 1);
    let mut left = random_below(weights.clone().sum());
    let passed = weights.take_while(|weight| match left.checked_sub(*weight) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    passed.count()
}

/// Returns every instance, the best first.
pub(crate) fn all(
    candidates: &[Candidate],
    suspects: &Suspects,
    locality: &Locality,
) -> Vec<ServiceEndpoint> {
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    let rank = |candidate: &Candidate| rank(candidate, |id| suspects.contains(id));
    ordered.sort_by_cached_key(|candidate| (rank(candidate), distance(candidate, locality)));
    ordered.into_iter().map(|candidate| (*candidate.endpoint).clone()).collect()
}

/// Returns whether every candidate is suspect.
pub(crate) fn all_suspect(candidates: &[Candidate], suspects: &Suspects) -> bool {
    candidates.iter().all(|candidate| suspects.contains(&candidate.endpoint.id))
}

/// Returns the sort key of a candidate; lower is better.
///
/// The proof decides before the health, except that a critical instance is the last resort but one: one that is about to stop
/// will certainly be gone.
fn rank<F: Fn(&ServiceId) -> bool>(candidate: &Candidate, is_suspect: F) -> impl Ord + use<F> {
    let Candidate { endpoint, proof, priority, .. } = candidate;
    let is_critical = endpoint.health == HealthStatus::Critical;
    let (is_draining, is_suspect) = (endpoint.is_draining(), is_suspect(&endpoint.id));
    (is_draining, is_suspect, is_critical, *proof, endpoint.health, *priority)
}

fn distance(candidate: &Candidate, locality: &Locality) -> u8 {
    locality.distance(&candidate.endpoint, || is_on_this_host(&candidate.endpoint))
}

#[cfg(test)]
mod tests;
