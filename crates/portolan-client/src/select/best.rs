//! The best candidates of a resolution, found once for many lookups.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{distance, rank};
use crate::chain::Resolution;
use crate::discovered::Discovered;
use crate::locality::Locality;
use crate::strategy::Candidate;

/// 2^32 divided by the golden ratio: its multiples, modulo 2^32, are spread evenly, however few or many they are (a Weyl sequence).
const STRIDE: u32 = 0x9e37_79b9;

/// The answers with the equally best candidates, of which lookups get each in its turn, in proportion to the weights. It takes no
/// account of suspects.
#[derive(Debug)]
pub(crate) enum Best {
    /// Without candidates.
    None,
    One(Discovered),
    Several(Turns),
}

/// Several answers that take turns.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Each answer, with the sum of the shares up to it.
    answers: Box<[(u64, Discovered)]>,
    /// Starts at random, so that the clients of a service do not take turns together.
    turn: AtomicU32,
}

/// Returns the share of a weight among those of equals. That of 0 is small and not zero (RFC 2782).
fn share(weight: u16) -> u64 {
    u64::from(weight) * 100 + 1
}

// === impl Best ===

impl Best {
    pub(crate) fn of(resolution: &Resolution, locality: &Locality) -> Self {
        let key = |candidate: &Candidate| {
            let near = if locality.is_none() { 0 } else { distance(candidate, locality) };
            (rank(candidate, |_| false), near)
        };
        let keys: Vec<_> = resolution.candidates.iter().map(key).collect();
        let best = keys.iter().min();
        let mut sum = 0;
        let keyed = resolution.candidates.iter().zip(&keys);
        let mut answers: Vec<_> = keyed
            .filter(|(_, key)| Some(*key) == best)
            .map(|(candidate, _)| {
                sum += share(candidate.weight);
                (sum, Discovered::new(resolution, candidate, false))
            })
            .collect();
        match answers.len() {
            0 | 1 => answers.pop().map_or(Self::None, |(_, answer)| Self::One(answer)),
            _ => {
                let turn = AtomicU32::new(rand::random());
                Self::Several(Turns { answers: answers.into(), turn })
            }
        }
    }

    /// Returns the answer whose turn it is; `None` without candidates.
    pub(crate) fn next(&self) -> Option<&Discovered> {
        match self {
            Self::None => None,
            Self::One(answer) => Some(answer),
            Self::Several(turns) => turns.next(),
        }
    }
}

// === impl Turns ===

impl Turns {
    fn next(&self) -> Option<&Discovered> {
        let (sum, _) = self.answers.last()?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(STRIDE);
        let point = (u128::from(turn) * u128::from(*sum)) >> 32;
        let at = self.answers.partition_point(|(up_to, _)| u128::from(*up_to) <= point);
        self.answers.get(at).map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portolan_core::{HealthStatus, ServiceEndpoint};

    use super::*;
    use crate::proof::Proof;
    use crate::strategy::ChangeFeed;
    use crate::strategy_name::StrategyName;
    use crate::testing::endpoint;

    fn candidate(port: u16, health: HealthStatus, weight: u16) -> Candidate {
        let endpoint = Arc::new(ServiceEndpoint { health, ..endpoint("api", port) });
        Candidate { weight, ..Candidate::from(endpoint) }
    }

    fn best(candidates: &[Candidate], locality: &Locality) -> Best {
        let sources = vec![(Proof::Registered, StrategyName::all().next().unwrap())];
        let (feed, candidates) = (ChangeFeed::None, candidates.to_vec());
        Best::of(&Resolution { sources, feed, candidates, complete: true }, locality)
    }

    /// How many of the lookups get each candidate; the port of each is its place, counted from 1.
    fn shares(candidates: &[Candidate], rounds: usize) -> Vec<usize> {
        let best = best(candidates, &Locality::default());
        let mut counts = vec![0; candidates.len()];
        (0..rounds).for_each(|_| counts[usize::from(best.next().unwrap().port) - 1] += 1);
        counts
    }

    #[test]
    fn only_the_best_have_turns_and_each_as_many() {
        let [passing, critical] = [HealthStatus::Passing, HealthStatus::Critical];
        let both = [candidate(1, critical, 1), candidate(2, passing, 1), candidate(3, passing, 1)];
        let counts = shares(&both, 100);
        assert_eq!(counts[0], 0);
        assert!(counts[1].abs_diff(counts[2]) <= 4, "{counts:?}");
        assert_eq!(best(&[], &Locality::default()).next(), None);
    }

    #[test]
    fn only_the_nearest_have_turns_if_that_matters() {
        let both = [1, 2].map(|port| candidate(port, HealthStatus::Passing, 1));
        let near = candidate(3, HealthStatus::Passing, 1);
        let mut endpoint = (*near.endpoint).clone();
        endpoint.metadata.insert("zone", "a");
        let near = Candidate { endpoint: Arc::new(endpoint), ..near };
        let locality = Locality { zone: Some("a".to_owned()), ..Locality::default() };
        let best = best(&[&both[..], &[near]].concat(), &locality);
        assert!((0..10).all(|_| best.next().unwrap().port == 3));
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
        let best = best(&both, &Locality::default());
        let first = (0..1000).filter(|_| {
            let chosen = best.next().unwrap().port;
            best.next();
            chosen == 1
        });
        assert!((480..520).contains(&first.count()));
    }
}
