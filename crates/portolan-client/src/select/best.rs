//! The best candidates of a resolution, found once for many lookups.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{distance, rank};
use crate::locality::Locality;
use crate::strategy::Candidate;

/// 2^32 divided by the golden ratio: its multiples, modulo 2^32, are spread evenly, however few or many they are (a Weyl sequence).
const STRIDE: u32 = 0x9e37_79b9;

/// The equally best candidates, of which lookups return each in its turn, in proportion to the weights. It takes no account of
/// suspects.
#[derive(Debug)]
pub(crate) struct Best {
    /// The index of each among all candidates, and the sum of the shares up to it.
    members: Box<[(usize, u64)]>,
    /// Starts at random, so that the clients of a service do not take turns together.
    turn: AtomicU32,
}

/// Returns the share of a weight among those of equals. That of 0 is small and not zero (RFC 2782).
fn share(weight: u16) -> u64 {
    u64::from(weight) * 100 + 1
}

// === impl Best ===

impl Best {
    pub(crate) fn of(candidates: &[Candidate], locality: &Locality) -> Self {
        let key = |candidate: &Candidate| {
            let near = if locality.is_none() { 0 } else { distance(candidate, locality) };
            (rank(candidate, |_| false), near)
        };
        let keys: Vec<_> = candidates.iter().map(key).collect();
        let best = keys.iter().min();
        let keyed = candidates.iter().enumerate().zip(&keys);
        let equals = keyed.filter(|(_, key)| Some(*key) == best).map(|(candidate, _)| candidate);
        let mut sum = 0;
        let members = equals.map(|(index, candidate)| {
            sum += share(candidate.weight);
            (index, sum)
        });
        Self { members: members.collect(), turn: AtomicU32::new(rand::random()) }
    }

    /// Returns the index of the candidate whose turn it is; `None` without candidates.
    pub(crate) fn next(&self) -> Option<usize> {
        let (last, sum) = *self.members.last()?;
        if self.members.len() == 1 {
            return Some(last);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(STRIDE);
        let point = (u128::from(turn) * u128::from(sum)) >> 32;
        let at = self.members.partition_point(|(_, up_to)| u128::from(*up_to) <= point);
        Some(self.members[at].0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portolan_core::{HealthStatus, ServiceEndpoint};

    use super::*;
    use crate::testing::endpoint;

    fn candidate(port: u16, health: HealthStatus, weight: u16) -> Candidate {
        let endpoint = Arc::new(ServiceEndpoint { health, ..endpoint("api", port) });
        Candidate { weight, ..Candidate::from(endpoint) }
    }

    fn shares(candidates: &[Candidate], rounds: usize) -> Vec<usize> {
        let best = Best::of(candidates, &Locality::default());
        let mut counts = vec![0; candidates.len()];
        (0..rounds).for_each(|_| counts[best.next().unwrap()] += 1);
        counts
    }

    #[test]
    fn only_the_best_have_turns_and_each_as_many() {
        let [passing, critical] = [HealthStatus::Passing, HealthStatus::Critical];
        let both = [candidate(1, critical, 1), candidate(2, passing, 1), candidate(3, passing, 1)];
        let counts = shares(&both, 100);
        assert_eq!(counts[0], 0);
        assert!(counts[1].abs_diff(counts[2]) <= 4, "{counts:?}");
        assert_eq!(Best::of(&[], &Locality::default()).next(), None);
    }

    #[test]
    fn only_the_nearest_have_turns_if_that_matters() {
        let both = [1, 2].map(|port| candidate(port, HealthStatus::Passing, 1));
        let near = candidate(3, HealthStatus::Passing, 1);
        let mut endpoint = (*near.endpoint).clone();
        endpoint.metadata.insert("zone", "a");
        let near = Candidate { endpoint: Arc::new(endpoint), ..near };
        let locality = Locality { zone: Some("a".to_owned()), ..Locality::default() };
        let best = Best::of(&[&both[..], &[near]].concat(), &locality);
        assert!((0..10).all(|_| best.next() == Some(2)));
    }

    #[test]
    fn turns_are_in_proportion_to_the_weights() {
        let passing = HealthStatus::Passing;
        let counts = shares(&[candidate(1, passing, 3), candidate(2, passing, 1)], 1000);
        assert!((740..760).contains(&counts[0]), "{counts:?}");
        let zero = shares(&[candidate(1, passing, 0), candidate(2, passing, 1)], 100_000);
        assert!((900..1100).contains(&zero[0]), "{zero:?}");
        let many: Vec<_> = (1..=1000).map(|port| candidate(port, passing, u16::MAX)).collect();
        assert!(shares(&many, 10_000).iter().all(|count| (5..=15).contains(count)));
    }

    /// A program that looks up a service twice for each piece of work gets the same mixture for both.
    #[test]
    fn every_other_turn_has_the_same_proportion() {
        let both = [1, 2].map(|port| candidate(port, HealthStatus::Passing, 1));
        let best = Best::of(&both, &Locality::default());
        let first = (0..1000).filter(|_| {
            let chosen = best.next();
            best.next();
            chosen == Some(0)
        });
        assert!((480..520).contains(&first.count()));
    }
}
