use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::advance;

use super::*;
use crate::strategy::Candidate;
use crate::testing::endpoint;

fn instances(weights: &[u16]) -> Vec<Instance> {
    let instance = |(port, &weight)| {
        Instance::new(&Candidate { weight, ..endpoint("api", port).into() }, None)
    };
    (1..).zip(weights).map(instance).collect()
}

/// Selects this often and counts how often each instance was selected.
fn counts(policy: LoadBalancingPolicy, of: &[Instance], times: usize) -> BTreeMap<usize, usize> {
    let (all, cursor) = (of.iter().collect::<Vec<_>>(), Cursor::default());
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts.entry(policy.select(&all, &cursor).unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn nothing_is_selected_of_nothing() {
    use LoadBalancingPolicy::{LeastPending, PeakEwma, Random, RoundRobin, Weighted};
    for policy in [RoundRobin, Random, Weighted, LeastPending, PeakEwma] {
        assert_eq!(policy.select(&[], &Cursor::default()), None, "{policy:?}");
    }
}

#[test]
fn round_robin_selects_each_in_turn() {
    let counts = counts(LoadBalancingPolicy::RoundRobin, &instances(&[1, 1, 1]), 30);
    assert_eq!(counts, BTreeMap::from([(0, 10), (1, 10), (2, 10)]));
}

#[test]
fn random_selects_every_instance() {
    let counts = counts(LoadBalancingPolicy::Random, &instances(&[1, 1]), 1_000);
    assert!(counts.values().all(|count| *count > 300), "{counts:?}");
}

#[test]
fn weighted_selects_in_proportion_and_zero_is_rare() {
    let counts = counts(LoadBalancingPolicy::Weighted, &instances(&[3, 1, 0]), 4_000);
    assert!(counts[&0] > 2_600 && counts[&1] > 700, "{counts:?}");
    assert!(counts.get(&2).is_none_or(|count| *count < 100), "{counts:?}");
}

#[test]
fn weight_in_the_metadata_counts() {
    let mut heavy = endpoint("api", 1);
    heavy.metadata.insert("weight".to_owned(), "1000".to_owned());
    assert_eq!(Instance::new(&heavy.into(), None).weight, 1_000);
    let mut wrong = endpoint("api", 1);
    wrong.metadata.insert("weight".to_owned(), "-1".to_owned());
    assert_eq!(Instance::new(&wrong.into(), None).weight, 1);
}

#[tokio::test(start_paused = true)]
async fn least_pending_avoids_busy_instances_and_equals_have_their_turn() {
    let all = instances(&[1, 1, 1]);
    let policy = LoadBalancingPolicy::LeastPending;
    let pending = all[1].load.begin();
    let idle = counts(policy, &all, 1_000);
    assert!(idle[&0] > 300 && idle[&2] > 300 && !idle.contains_key(&1), "{idle:?}");
    all[1].load.complete(pending);
    assert_eq!(counts(policy, &all, 1_000).len(), 3);
}

/// Measures a request of this duration.
async fn measure(instance: &Instance, took: Duration) {
    let pending = instance.load.begin();
    advance(took).await;
    instance.load.complete(pending);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_avoids_a_slow_instance_and_tries_it_again_later() {
    let all = instances(&[1, 1]);
    measure(&all[0], Duration::from_millis(500)).await;
    measure(&all[1], Duration::from_millis(1)).await;
    let policy = LoadBalancingPolicy::PeakEwma;
    assert_eq!(counts(policy, &all, 100), BTreeMap::from([(1, 100)]));
    // Other instances are measured all the time.
    for _ in 0..100 {
        advance(Duration::from_secs(1)).await;
        measure(&all[1], Duration::from_millis(1)).await;
    }
    assert_eq!(counts(policy, &all, 1), BTreeMap::from([(0, 1)]));
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_forgets_a_single_slow_response_once_fast_ones_follow() {
    let all = instances(&[1, 1]);
    measure(&all[1], Duration::from_millis(50)).await;
    measure(&all[0], Duration::from_millis(500)).await;
    let policy = LoadBalancingPolicy::PeakEwma;
    assert_eq!(counts(policy, &all, 10), BTreeMap::from([(1, 10)]));
    for _ in 0..20 {
        measure(&all[0], Duration::from_millis(1)).await;
    }
    assert_eq!(counts(policy, &all, 10), BTreeMap::from([(0, 10)]));
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_leaves_out_an_instance_that_hangs() {
    let all = instances(&[1, 1]);
    let policy = LoadBalancingPolicy::PeakEwma;
    // Before the first answer it gets one request.
    let _first = all[0].load.begin();
    measure(&all[1], Duration::from_millis(5)).await;
    let busy: Vec<_> = (0..50).map(|_| all[1].load.begin()).collect();
    assert_eq!(counts(policy, &all, 10), BTreeMap::from([(1, 10)]));
    busy.into_iter().for_each(|pending| all[1].load.complete(pending));

    // After that the age of the oldest request counts.
    let known = instances(&[1, 1]);
    measure(&known[0], Duration::from_millis(1)).await;
    measure(&known[1], Duration::from_millis(5)).await;
    let hanging = known[0].load.begin();
    advance(Duration::from_millis(20)).await;
    assert_eq!(counts(policy, &known, 10), BTreeMap::from([(1, 10)]));
    // The caller gives up: that counts as slow.
    known[0].load.abandon(hanging);
    assert_eq!(counts(policy, &known, 10), BTreeMap::from([(1, 10)]));
}
