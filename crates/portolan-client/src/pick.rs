//! Chooses among instances: well before ill, near before far, and in turn among equals.

use std::time::Duration;

use portolan_core::{HealthStatus, ServiceEndpoint, ServiceId};
use quick_cache::sync::Cache;
use rand::Rng;
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::endpoint;

    fn candidate(port: u16, health: HealthStatus, priority: u16, weight: u16) -> Candidate {
        let endpoint = Arc::new(ServiceEndpoint { health, ..endpoint("api", port) });
        Candidate { endpoint, priority, weight }
    }

    fn ports_chosen(candidates: &[Candidate], suspects: &Suspects) -> Vec<u16> {
        let mut ports: Vec<u16> =
            (0..200).map(|_| one(candidates, suspects).unwrap().endpoint.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    #[test]
    fn the_best_health_is_chosen_and_equals_share() {
        use HealthStatus::{Critical, Passing, Unknown, Warning};
        let statuses = [(1, Critical), (2, Unknown), (3, Warning), (4, Passing), (5, Passing)];
        let mut candidates = statuses.map(|(port, health)| candidate(port, health, 0, 1)).to_vec();
        let suspects = Suspects::new();
        for expected in [vec![4, 5], vec![3], vec![2], vec![1]] {
            assert_eq!(ports_chosen(&candidates, &suspects), expected);
            candidates.retain(|c| !expected.contains(&c.endpoint.port));
        }
        assert_eq!(one(&candidates, &suspects), None);
    }

    #[test]
    fn priority_goes_before_weight_and_weight_0_has_a_chance() {
        let passing = HealthStatus::Passing;
        let suspects = Suspects::new();
        let near = candidate(1, passing, 10, 0);
        let far = candidate(2, passing, 20, 65535);
        assert_eq!(ports_chosen(&[near.clone(), far], &suspects), [1]);
        let equal = candidate(3, passing, 10, 0);
        assert_eq!(ports_chosen(&[near, equal], &suspects), [1, 3]);
        let heavy = [candidate(4, passing, 0, 1000), candidate(5, passing, 0, 1)];
        let fives = (0..1000).filter(|_| one(&heavy, &suspects).unwrap().endpoint.port == 5);
        assert!(fives.count() < 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_goes_last_until_time_or_news_clears_it() {
        let passing = HealthStatus::Passing;
        let candidates = [candidate(1, passing, 0, 1), candidate(2, HealthStatus::Critical, 0, 1)];
        let suspects = Suspects::new();
        let id = candidates[0].endpoint.id.clone();
        suspects.suspect(&id);
        assert_eq!(ports_chosen(&candidates, &suspects), [2]);
        assert!(!all_suspect(&candidates, &suspects));
        assert!(all_suspect(&candidates[..1], &suspects));
        assert_eq!(all(&candidates, &suspects)[0].port, 2);

        tokio::time::advance(SUSPICION).await;
        assert_eq!(ports_chosen(&candidates, &suspects), [1]);
        suspects.suspect(&id);
        suspects.clear(&id);
        assert_eq!(ports_chosen(&candidates, &suspects), [1]);
    }
}
