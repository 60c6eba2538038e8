use proptest::prelude::*;

use super::*;
use HealthStatus::{Critical, Passing, Unknown, Warning};

/// The statuses that an instance goes through when it is found like this.
fn after(start: HealthStatus, found: &[HealthStatus]) -> Vec<HealthStatus> {
    let mut state = HealthState::new(start, &HealthConfig::default());
    let mut see = |status| {
        let change = state.observe(HealthReport::new(status, "seen"));
        assert!(change.is_none_or(|change| change.to.status == state.status()));
        state.status()
    };
    found.iter().map(|status| see(*status)).collect()
}

#[test]
fn the_first_success_is_believed_at_once() {
    assert_eq!(after(Unknown, &[Passing]), [Passing]);
    assert_eq!(after(Unknown, &[Warning]), [Warning]);
}

#[test]
fn one_failure_ends_nothing_and_two_in_a_row_do() {
    assert_eq!(after(Passing, &[Critical, Passing, Critical]), [Passing; 3]);
    assert_eq!(after(Passing, &[Critical, Critical]), [Passing, Critical]);
    assert_eq!(after(Unknown, &[Critical, Critical]), [Unknown, Critical]);
}

#[test]
fn what_was_critical_must_prove_itself_twice() {
    assert_eq!(after(Critical, &[Passing, Passing]), [Critical, Passing]);
    assert_eq!(after(Critical, &[Passing, Critical, Passing]), [Critical; 3]);
}

#[test]
fn who_says_that_it_is_unwell_is_believed_at_once() {
    assert_eq!(after(Passing, &[Warning]), [Warning]);
    assert_eq!(after(Warning, &[Passing, Passing]), [Warning, Passing]);
}

#[test]
fn a_change_says_what_it_was_and_why_it_changed() {
    let mut state = HealthState::new(Unknown, &HealthConfig::default());
    let to = HealthReport::new(Passing, "connected");
    let change = HealthChange { from: Unknown, to: to.clone() };
    assert_eq!(state.observe(to.clone()), Some(change));
    assert_eq!(state.observe(to), None);
}

#[test]
fn what_is_certain_needs_no_second_finding() {
    let mut state = HealthState::new(Passing, &HealthConfig::default());
    assert_eq!(state.decide(HealthReport::new(Unknown, "")), None);
    assert!(state.decide(HealthReport::new(Critical, "no report")).is_some());
    assert!(state.decide(HealthReport::new(Passing, "reported")).is_some());
}

fn any_status() -> impl Strategy<Value = HealthStatus> {
    proptest::sample::select(HealthStatus::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_reported_change_is_a_change(start in any_status(), found in proptest::collection::vec(any_status(), 0..50)) {
        let mut state = HealthState::new(start, &HealthConfig::default());
        let mut known = start;
        for status in found {
            if let Some(change) = state.observe(HealthReport::new(status, "")) {
                prop_assert_eq!(change.from, known);
                prop_assert_ne!(change.to.status, known);
                known = change.to.status;
            }
            prop_assert_eq!(state.status(), known);
        }
    }
}
