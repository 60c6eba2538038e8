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

#[test]
fn service_that_is_not_ready_is_found_only_with_better_evidence() {
    let scopes = ["shop".parse().unwrap(), Scope::default()];
    let in_scope = |scope: &Scope, proof, health| {
        let mut candidate = candidate("127.0.0.1", proof, health);
        Arc::make_mut(&mut candidate.endpoint).scope = scope.clone();
        candidate
    };
    let found = |candidate: Candidate, not_ready: &Scope| {
        let mut evidence = Evidence::default();
        evidence.add(&StrategyKind::new("default"), &[candidate], false);
        evidence.not_ready(not_ready);
        assert!(evidence.is_conclusive(true));
        evidence.into_resolution(&scopes, true).is_some()
    };
    let (own, other) = (&scopes[0], &scopes[1]);
    // Its socket listens before its program does, or another program has the port.
    assert!(!found(in_scope(own, Proof::Leased, HealthStatus::Unknown), own));
    assert!(!found(in_scope(own, Proof::WellKnownPort, HealthStatus::Unknown), own));
    assert!(!found(in_scope(other, Proof::Registered, HealthStatus::Passing), own));
    assert!(found(in_scope(own, Proof::Announced, HealthStatus::Passing), own));
    assert!(found(in_scope(own, Proof::Leased, HealthStatus::Unknown), other));
    assert!(found(in_scope(other, Proof::Configured, HealthStatus::Unknown), own));
}

#[test]
fn what_is_announced_in_the_scope_of_a_stack_does_not_replace_its_instance() {
    let scopes = ["shop".parse().unwrap(), Scope::default()];
    let in_scope = |scope: &Scope, proof, health| {
        let mut candidate = candidate("192.0.2.1", proof, health);
        let endpoint = Arc::make_mut(&mut candidate.endpoint);
        (endpoint.scope, endpoint.port) = (scope.clone(), 8000 + proof as u16);
        candidate
    };
    let critical = in_scope(&scopes[0], Proof::OfStack, HealthStatus::Critical);
    let forged = in_scope(&scopes[0], Proof::Announced, HealthStatus::Passing);
    let configured = in_scope(&scopes[0], Proof::Configured, HealthStatus::Passing);
    let found = |candidates: &[Candidate]| {
        let mut evidence = Evidence::default();
        evidence.add(&StrategyKind::new("registry"), candidates, true);
        evidence.into_resolution(&scopes, true).unwrap().candidates
    };
    let only = std::slice::from_ref(&critical);
    assert_eq!(found(&[critical.clone(), forged.clone()]), only);
    assert_eq!(found(&[forged.clone(), critical.clone()]), only);
    assert_eq!(found(&[critical.clone(), configured.clone()]), [critical.clone(), configured]);
    let registered = in_scope(&scopes[0], Proof::Registered, HealthStatus::Critical);
    assert_eq!(found(&[registered.clone(), forged.clone()]), [registered, forged]);
}
