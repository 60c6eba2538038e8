//! Selection of one instance among equals: one file per policy.

mod least_pending;
mod peak_ewma;
mod random;
mod round_robin;
mod weighted;

use std::cmp::Ordering;
use std::sync::atomic::AtomicUsize;

use rand::RngExt;

use crate::instances::Instance;

/// How an instance is selected among those that are equally usable and equally near.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadBalancingPolicy {
    /// Each instance in turn.
    RoundRobin,
    /// At random, each with the same probability.
    Random,
    /// At random in proportion to the weights: those of SRV records, or else the metadata entry `weight`, a number from 0
    /// to 65535. Default 1; 0 means a small probability (RFC 2782).
    Weighted,
    /// The one with the fewest pending requests of this process.
    LeastPending,
    /// The one with the lowest product of latency and pending requests of this process. The latency is a moving average
    /// that follows an increase at once, and at least the age of the oldest pending request, so that an instance
    /// that hangs is left out after a few requests.
    #[default]
    PeakEwma,
}

/// The state of a policy: whose turn it is.
pub(crate) type Cursor = AtomicUsize;

// === impl LoadBalancingPolicy ===

impl LoadBalancingPolicy {
    /// Returns the index of the selected instance; `None` without instances.
    pub(crate) fn select(self, instances: &[&Instance], cursor: &Cursor) -> Option<usize> {
        match self {
            Self::RoundRobin => round_robin::select(instances, cursor),
            Self::Random => random::select(instances),
            Self::Weighted => weighted::select(instances),
            Self::LeastPending => least_pending::select(instances),
            Self::PeakEwma => peak_ewma::select(instances),
        }
    }
}

/// Returns the index of the lowest cost, at random among equal ones: always the first would get every request of a caller
/// that sends one after the other.
fn lowest<C: PartialOrd>(instances: &[&Instance], cost: impl Fn(&Instance) -> C) -> Option<usize> {
    let mut rng = rand::rng();
    let mut best: Option<(usize, C)> = None;
    let mut equals = 0;
    for (at, instance) in instances.iter().enumerate() {
        let cost = cost(instance);
        let order = best.as_ref().map(|(_, least)| cost.partial_cmp(least));
        match order {
            Some(Some(Ordering::Equal)) => {
                equals += 1;
                if rng.random_ratio(1, equals) {
                    best = Some((at, cost));
                }
            }
            None | Some(Some(Ordering::Less)) => (best, equals) = (Some((at, cost)), 1),
            Some(Some(Ordering::Greater) | None) => {}
        }
    }
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
