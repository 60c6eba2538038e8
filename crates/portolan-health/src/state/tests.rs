use proptest::prelude::*;

use super::*;
use crate::HealthConfig;
use HealthStatus::{Critical, Passing, Unknown, Warning};

fn timing() -> CheckTiming {
    CheckTiming::from(&HealthConfig::default())
}

/// The statuses after each of these reports.
fn after(start: HealthStatus, reports: &[HealthStatus]) -> Vec<HealthStatus> {
    let mut state = HealthState::new(start, &timing());
    let mut record = |status| {
        let change = state.record(HealthReport::new(status, "seen"));
        assert!(change.is_none_or(|change| change.to.status == state.status()));
        state.status()
    };
    reports.iter().map(|status| record(*status)).collect()
}

#[test]
fn first_success_of_unknown_is_passing() {
    assert_eq!(after(Unknown, &[Passing]), [Passing]);
    assert_eq!(after(Unknown, &[Warning]), [Warning]);
}

#[test]
fn two_consecutive_failures_are_critical() {
    assert_eq!(after(Passing, &[Critical, Passing, Critical]), [Passing; 3]);
    assert_eq!(after(Passing, &[Critical, Critical]), [Passing, Critical]);
    assert_eq!(after(Unknown, &[Critical, Critical]), [Unknown, Critical]);
}

#[test]
fn critical_needs_two_consecutive_successes() {
    assert_eq!(after(Critical, &[Passing, Passing]), [Critical, Passing]);
    assert_eq!(after(Critical, &[Passing, Critical, Passing]), [Critical; 3]);
}

#[test]
fn warning_needs_no_confirmation() {
    assert_eq!(after(Passing, &[Warning]), [Warning]);
    assert_eq!(after(Warning, &[Passing, Passing]), [Warning, Passing]);
}

#[test]
fn change_has_the_status_before_and_the_deciding_report() {
    let mut state = HealthState::new(Unknown, &timing());
    let to = HealthReport::new(Passing, "connected");
    let change = HealthChange { from: Unknown, to: to.clone() };
    assert_eq!(state.record(to.clone()), Some(change));
    assert_eq!(state.record(to), None);
}

#[test]
fn conclusive_report_needs_no_confirmation() {
    let mut state = HealthState::new(Passing, &timing());
    assert_eq!(state.record_conclusive(HealthReport::new(Unknown, "")), None);
    assert!(state.record_conclusive(HealthReport::new(Critical, "no report")).is_some());
    assert!(state.record_conclusive(HealthReport::new(Passing, "reported")).is_some());
}

/// Returns after how many successes a critical instance is passing.
fn successes_until_passing(state: &mut HealthState) -> usize {
    let mut record = || state.record(HealthReport::new(Passing, "seen"));
    (1..100).find(|_| record().is_some()).unwrap()
}

fn fail(state: &mut HealthState) {
    while state.status() != Critical {
        state.record(HealthReport::new(Critical, "seen"));
    }
}

#[test]
fn instance_that_flaps_needs_more_successes_each_time() {
    let mut state = HealthState::new(Passing, &timing());
    let mut needed = Vec::new();
    for _ in 0..6 {
        fail(&mut state);
        needed.push(successes_until_passing(&mut state));
    }
    assert_eq!(needed, [2, 4, 8, 16, 16, 16]);
    for _ in 0..STABLE {
        state.record(HealthReport::new(Passing, "seen"));
    }
    fail(&mut state);
    assert_eq!(successes_until_passing(&mut state), 2, "it was stable for a while");
}

#[test]
fn flap_damping_never_needs_fewer_successes_than_configured() {
    let one = std::num::NonZeroU32::MIN;
    let timing = CheckTiming { max_successes_before_passing: one, ..timing() };
    let mut state = HealthState::new(Passing, &timing);
    for _ in 0..3 {
        fail(&mut state);
        assert_eq!(successes_until_passing(&mut state), 2);
    }
}

fn any_status() -> impl Strategy<Value = HealthStatus> {
    proptest::sample::select(HealthStatus::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_reported_change_is_a_change(start in any_status(), found in proptest::collection::vec(any_status(), 0..50)) {
        let mut state = HealthState::new(start, &timing());
        let mut known = start;
        for status in found {
            if let Some(change) = state.record(HealthReport::new(status, "")) {
                prop_assert_eq!(change.from, known);
                prop_assert_ne!(change.to.status, known);
                known = change.to.status;
            }
            prop_assert_eq!(state.status(), known);
        }
    }
}
