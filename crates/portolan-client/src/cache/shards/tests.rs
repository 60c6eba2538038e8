use std::time::Duration;

use portolan_metrics::Metrics;
use tokio::time::Instant;

use super::*;
use crate::chain::Resolution;
use crate::proof::Proof;
use crate::strategy::{Candidate, ChangeFeed};
use crate::strategy_name::StrategyName;
use crate::testing::endpoint;

fn entry(name: &str, port: u16) -> Arc<Entry> {
    let resolution = Resolution {
        sources: vec![(Proof::Registered, StrategyName::all().next().unwrap())],
        feed: ChangeFeed::None,
        candidates: vec![Candidate::from(Arc::new(endpoint(name, port)))],
        complete: true,
    };
    let (end, hits) = (Instant::now() + Duration::from_secs(30), Metrics::new().hit_counter(name));
    Arc::new(Entry::new(Arc::new(resolution), end, hits, Arc::default()))
}

fn port(shards: &Shards, name: &str) -> Option<u16> {
    shards.read(name, |entry| entry.resolution.candidates[0].endpoint.port)
}

fn insert(shards: &Shards, number: u16) -> String {
    let name = format!("svc-{number}");
    shards.insert(&name.parse().unwrap(), entry(&name, number));
    name
}

#[tokio::test]
async fn entry_is_found_replaced_and_removed() {
    let shards = Shards::new(100);
    let name = insert(&shards, 1);
    assert_eq!(port(&shards, &name), Some(1));
    let key: ServiceName = name.parse().unwrap();
    shards.insert(&key, entry(&name, 2));
    assert_eq!((port(&shards, &name), shards.names()), (Some(2), vec![key.clone()]));
    shards.remove(&key);
    assert_eq!((port(&shards, &name), shards.names()), (None, vec![]));
}

#[tokio::test]
async fn number_of_entries_never_exceeds_the_limit_and_the_new_one_is_kept() {
    for limit in [1, 2, 40, 1000] {
        let shards = Shards::new(limit);
        for number in 1..3000 {
            let name = insert(&shards, number);
            assert_eq!(port(&shards, &name), Some(number), "limit {limit}");
        }
        assert_eq!(shards.names().len(), limit);
    }
}

#[tokio::test]
async fn entry_in_use_outlives_those_that_nobody_reads() {
    let shards = Shards::new(64);
    let used = insert(&shards, 60_000);
    for number in 1..2000 {
        insert(&shards, number);
        assert!(port(&shards, &used).is_some(), "evicted by {number}");
    }
}
