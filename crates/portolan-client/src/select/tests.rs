use std::sync::Arc;

use super::*;
use crate::proof::Proof;
use crate::testing::endpoint;
use crate::trust::Trust;

fn candidate(port: u16, health: HealthStatus, priority: u16, weight: u16) -> Candidate {
    let endpoint = Arc::new(ServiceEndpoint { health, ..endpoint("api", port) });
    Candidate { endpoint, priority, weight, proof: Proof::Registered, trust: Trust::Local }
}

fn ports_chosen(candidates: &[Candidate], suspects: &Suspects) -> Vec<u16> {
    let mut ports: Vec<u16> = (0..200)
        .map(|_| one(candidates, suspects, &Locality::default()).unwrap().endpoint.port)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[test]
fn best_health_is_selected_and_equals_alternate() {
    use HealthStatus::{Critical, Passing, Unknown, Warning};
    let statuses = [(1, Critical), (2, Unknown), (3, Warning), (4, Passing), (5, Passing)];
    let mut candidates = statuses.map(|(port, health)| candidate(port, health, 0, 1)).to_vec();
    let suspects = Suspects::new();
    for expected in [vec![4, 5], vec![3], vec![2], vec![1]] {
        assert_eq!(ports_chosen(&candidates, &suspects), expected);
        candidates.retain(|c| !expected.contains(&c.endpoint.port));
    }
    assert_eq!(one(&candidates, &suspects, &Locality::default()), None);
}

#[test]
fn priority_precedes_weight_and_weight_0_is_selected_sometimes() {
    let passing = HealthStatus::Passing;
    let suspects = Suspects::new();
    let near = candidate(1, passing, 10, 0);
    let far = candidate(2, passing, 20, 65535);
    assert_eq!(ports_chosen(&[near.clone(), far], &suspects), [1]);
    let equal = candidate(3, passing, 10, 0);
    assert_eq!(ports_chosen(&[near, equal], &suspects), [1, 3]);
    let heavy = [candidate(4, passing, 0, 1000), candidate(5, passing, 0, 1)];
    let fives = (0..1000)
        .filter(|_| one(&heavy, &suspects, &Locality::default()).unwrap().endpoint.port == 5);
    assert!(fives.count() < 100);
}

#[tokio::test(start_paused = true)]
async fn suspect_is_selected_last_until_it_expires_or_is_cleared() {
    let passing = HealthStatus::Passing;
    let candidates = [candidate(1, passing, 0, 1), candidate(2, HealthStatus::Critical, 0, 1)];
    let suspects = Suspects::new();
    let id = candidates[0].endpoint.id.clone();
    suspects.insert(&id);
    assert_eq!(ports_chosen(&candidates, &suspects), [2]);
    assert!(!all_suspect(&candidates, &suspects));
    assert!(all_suspect(&candidates[..1], &suspects));
    assert_eq!(all(&candidates, &suspects, &Locality::default())[0].port, 2);

    tokio::time::advance(SUSPICION).await;
    assert_eq!(ports_chosen(&candidates, &suspects), [1]);
    suspects.insert(&id);
    suspects.remove(&id);
    assert_eq!(ports_chosen(&candidates, &suspects), [1]);
}

#[test]
fn nearest_of_equals_is_selected_and_health_precedes_distance() {
    let elsewhere = |port, zone: &str| {
        let mut candidate = candidate(port, HealthStatus::Passing, 0, 1);
        let endpoint = Arc::make_mut(&mut candidate.endpoint);
        endpoint.host = "192.0.2.1".parse().unwrap();
        endpoint.metadata.insert("zone".to_owned(), zone.to_owned());
        candidate
    };
    let sick = candidate(4, HealthStatus::Warning, 0, 1);
    let here = candidate(1, HealthStatus::Passing, 0, 1);
    let mut candidates = vec![sick, elsewhere(3, "b"), elsewhere(2, "a"), here];
    let suspects = Suspects::new();
    let locality = Locality { same_host: true, zone: Some("a".to_owned()) };
    let chosen = |candidates: &[Candidate]| {
        let first = one(candidates, &suspects, &locality).unwrap().endpoint.port;
        assert!(
            (0..50).all(|_| one(candidates, &suspects, &locality).unwrap().endpoint.port == first)
        );
        first
    };
    let ordered: Vec<u16> =
        all(&candidates, &suspects, &locality).iter().map(|endpoint| endpoint.port).collect();
    assert_eq!(ordered, [1, 2, 3, 4]);
    for expected in ordered {
        assert_eq!(chosen(&candidates), expected);
        candidates.retain(|candidate| candidate.endpoint.port != expected);
    }
}
