use super::*;
use crate::testing::endpoint;

fn candidate(host: &str, proof: Proof, health: HealthStatus) -> Candidate {
    let host = host.parse().unwrap();
    let endpoint = ServiceEndpoint { host, health, ..endpoint("api", 8080) };
    Candidate { proof, ..endpoint.into() }
}

#[test]
fn one_port_of_one_host_is_one_instance() {
    let leased = candidate("127.0.0.1", Proof::Leased, HealthStatus::Unknown);
    let registered = candidate("localhost", Proof::Registered, HealthStatus::Critical);
    let elsewhere = candidate("192.0.2.1", Proof::Registered, HealthStatus::Passing);
    let mut candidates = vec![leased];
    merge(&mut candidates, &registered);
    merge(&mut candidates, &elsewhere);
    let found: Vec<_> = candidates
        .iter()
        .map(|c| (c.endpoint.host.to_string(), c.proof, c.endpoint.health))
        .collect();
    let expected = [
        ("127.0.0.1".to_owned(), Proof::Leased, HealthStatus::Critical),
        ("192.0.2.1".to_owned(), Proof::Registered, HealthStatus::Passing),
    ];
    assert_eq!(found, expected);
}

#[test]
fn weaker_source_does_not_replace_known_health() {
    let mut candidates = vec![candidate("127.0.0.1", Proof::Registered, HealthStatus::Critical)];
    let announced = candidate("127.0.0.1", Proof::Announced, HealthStatus::Passing);
    merge(&mut candidates, &announced);
    assert_eq!(candidates[0].endpoint.health, HealthStatus::Critical);
    assert_eq!(candidates[0].proof, Proof::Registered);
}

#[test]
fn instances_of_the_nearest_scope_are_the_result() {
    let scopes = ["shop".parse().unwrap(), Scope::default()];
    let leased = candidate("127.0.0.1", Proof::Leased, HealthStatus::Unknown);
    let mut registered = candidate("192.0.2.1", Proof::Registered, HealthStatus::Passing);
    Arc::make_mut(&mut registered.endpoint).scope = scopes[0].clone();
    let mut evidence = Evidence::default();
    evidence.add(&StrategyKind::new("default"), &[leased], false);
    assert!(!evidence.is_conclusive(false), "the health is not known");
    evidence.add(&StrategyKind::new("registry"), &[registered.clone()], true);
    let found = evidence.into_resolution(&scopes, true).unwrap();
    assert_eq!(found.candidates, [registered]);
}
