use portolan_core::HealthStatus;

use super::*;
use crate::strategies::STRATEGIES;
use crate::strategy::StrategyKind;
use crate::strategy_name::StrategyName;
use crate::testing::{endpoint, endpoint_in};

fn kind(strategy: &str) -> &'static StrategyKind {
    let row = STRATEGIES.into_iter().find(|row| row.kind.name == strategy);
    &row.unwrap().kind
}

/// The own scope is `shop`; then comes `default`.
fn rank(endpoint: &ServiceEndpoint) -> Option<usize> {
    ["shop", "default"].iter().position(|scope| endpoint.scope == *scope)
}

fn found(strategy: &str, endpoints: &[ServiceEndpoint]) -> Resolution {
    let candidates = endpoints.iter().cloned().map(Candidate::from).collect();
    let strategy = StrategyName::from(kind(strategy));
    let sources = vec![(Proof::Registered, strategy)];
    Resolution { sources, feed: kind(strategy.as_str()).feed, candidates, complete: true }
}

/// The ports that are known afterwards, or the action as a word.
fn said(action: CacheAction) -> String {
    match action {
        CacheAction::Keep => "keep".to_owned(),
        CacheAction::MarkStale => "stale".to_owned(),
        CacheAction::Remove => "remove".to_owned(),
        CacheAction::Replace(found) => {
            let ports = found.candidates.iter().map(|c| c.endpoint.port.to_string());
            ports.collect::<Vec<_>>().join(",")
        }
    }
}

fn after(strategy: &str, known: &[ServiceEndpoint], change: &Change) -> String {
    said(after_change(&found(strategy, known), change, ChangeFeed::Ordered, &rank))
}

fn registered(endpoint: ServiceEndpoint) -> Change {
    Change::Registered { endpoint: Arc::new(endpoint) }
}

fn expired(endpoint: ServiceEndpoint) -> Change {
    Change::Expired { endpoint: Arc::new(endpoint) }
}

#[test]
fn removed_instance_is_dropped_for_every_strategy() {
    let known = [endpoint("api", 1), endpoint("api", 2)];
    for strategy in ["default", "registry", "broadcast", "dns", "config"] {
        assert_eq!(after(strategy, &known, &expired(endpoint("api", 1))), "2", "{strategy}");
        assert_eq!(after(strategy, &known, &expired(endpoint("api", 3))), "keep", "{strategy}");
        // None left; the cache takes an empty entry out.
        assert_eq!(after(strategy, &known[..1], &expired(endpoint("api", 1))), "", "{strategy}");
    }
    let mut other_id = endpoint("api", 1);
    other_id.id = "of-another-making".parse().unwrap();
    // The newer instance has displaced it at the same address.
    assert_eq!(after("dns", &known, &expired(other_id)), "keep");
    let elsewhere = expired(endpoint_in("shop", "api", 1));
    assert_eq!(after("registry", &known, &elsewhere), "keep");
}

#[test]
fn new_instance_is_added_if_the_strategy_has_a_feed() {
    let known = [endpoint("api", 1)];
    let new = registered(endpoint("api", 2));
    assert_eq!(after("registry", &known, &new), "1,2");
    assert_eq!(after("broadcast", &known, &new), "1,2");
    // The configured order said that this strategy goes first.
    assert_eq!(after("default", &known, &new), "keep");
    assert_eq!(after("dns", &known, &new), "keep");
}

#[test]
fn changed_instance_replaces_the_known_one() {
    let mut ill = endpoint("api", 1);
    ill.health = HealthStatus::Critical;
    let change = Change::Health { endpoint: Arc::new(ill.clone()) };
    let action =
        after_change(&found("default", &[endpoint("api", 1)]), &change, ChangeFeed::Ordered, &rank);
    let CacheAction::Replace(found) = action else { panic!("{action:?}") };
    assert_eq!(*found.candidates[0].endpoint, ill);
}

#[test]
fn announcement_removes_but_does_not_change_a_registry_result() {
    let heard = |strategy: &str, change: &Change| {
        said(after_change(
            &found(strategy, &[endpoint("api", 1)]),
            change,
            ChangeFeed::Announced,
            &rank,
        ))
    };
    assert_eq!(heard("registry", &registered(endpoint("api", 1))), "keep");
    assert_eq!(heard("registry", &registered(endpoint("api", 2))), "keep");
    assert_eq!(heard("broadcast", &registered(endpoint("api", 2))), "1,2");
    assert_eq!(heard("registry", &expired(endpoint("api", 1))), "");
}

#[test]
fn nearer_scope_makes_the_entry_stale_and_farther_scope_is_ignored() {
    let near = endpoint_in("shop", "api", 1);
    let far = endpoint("api", 2);
    let other = endpoint_in("other", "api", 3);
    assert_eq!(after("registry", std::slice::from_ref(&far), &registered(near.clone())), "stale");
    assert_eq!(after("dns", std::slice::from_ref(&far), &registered(near.clone())), "stale");
    assert_eq!(after("registry", std::slice::from_ref(&near), &registered(far)), "keep");
    assert_eq!(after("registry", &[near], &registered(other)), "keep");
}

#[test]
fn number_of_added_instances_is_bounded() {
    let known: Vec<_> = (1..=1000).map(|port| endpoint("api", port)).collect();
    assert_eq!(after("broadcast", &known, &registered(endpoint("api", 2000))), "stale");
}

#[test]
fn snapshot_replaces_a_registry_result() {
    let snapshot = |strategy: &str, known: &[ServiceEndpoint], now: &[ServiceEndpoint]| {
        let now: Vec<_> = now.iter().cloned().map(Arc::new).collect();
        said(after_snapshot(&found(strategy, known), &now, false, &rank))
    };
    let known = [endpoint("api", 1)];
    let both = [endpoint("api", 2), endpoint_in("shop", "api", 3)];
    assert_eq!(snapshot("registry", &known, &both), "3");
    assert_eq!(snapshot("registry", &known, &both[..1]), "2");
    // A registry that has just started is empty: the entry becomes stale and is kept.
    assert_eq!(snapshot("registry", &known, &[]), "stale");
    assert_eq!(snapshot("registry", &known, &[endpoint_in("other", "api", 4)]), "stale");
    // What others found stays, with what is now known of it.
    assert_eq!(snapshot("broadcast", &known, &both), "1");
    assert_eq!(snapshot("default", &known, &[]), "1");
}

#[test]
fn snapshot_is_not_a_change_of_one_instance() {
    let change = Change::Snapshot { endpoints: Vec::new(), incomplete: false };
    assert_eq!(after("registry", &[endpoint("api", 1)], &change), "keep");
}

#[test]
fn incomplete_snapshot_keeps_the_known_instances() {
    let known = [endpoint("api", 1), endpoint("api", 2)];
    let now = |endpoints: Vec<ServiceEndpoint>| {
        let now: Vec<_> = endpoints.into_iter().map(Arc::new).collect();
        said(after_snapshot(&found("registry", &known), &now, true, &rank))
    };
    assert_eq!(now(vec![]), "1,2");
    assert_eq!(now(vec![endpoint("api", 2), endpoint("api", 3)]), "1,2,3");
}

#[test]
fn instance_that_the_registry_learned_by_broadcast_is_announced() {
    let mut announced = endpoint("api", 1);
    announced.source = portolan_core::Source::Broadcast;
    let proof = |action| match action {
        CacheAction::Replace(found) => found.candidates.last().unwrap().proof,
        other => panic!("{other:?}"),
    };
    assert_eq!(Candidate::from(announced.clone()).proof, Proof::Announced);
    let known = found("registry", &[endpoint("api", 2)]);
    let change = registered(announced.clone());
    let added = after_change(&known, &change, ChangeFeed::Ordered, &rank);
    assert_eq!(proof(added), Proof::Announced);
    // It registers later.
    let change = registered(endpoint("api", 1));
    let known = found("registry", &[announced]);
    let updated = after_change(&known, &change, ChangeFeed::Ordered, &rank);
    assert_eq!(proof(updated), Proof::Registered);
}
