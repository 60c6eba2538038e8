use super::*;

fn error_of(outcomes: &[AttemptOutcome]) -> DiscoverError {
    let attempt = |outcome: &AttemptOutcome| Attempt {
        strategy: "dns".parse().unwrap(),
        took: Duration::ZERO,
        outcome: outcome.clone(),
    };
    let attempts = outcomes.iter().map(attempt).collect();
    let name = "api".parse().unwrap();
    DiscoverError::from_attempts(name, vec![Scope::default()], Duration::from_secs(1), attempts)
}

fn not_found(authoritative: bool) -> AttemptOutcome {
    AttemptOutcome::NotFound { reason: String::new(), authoritative }
}

#[test]
fn authoritative_strategy_decides_that_the_service_does_not_exist() {
    let failed =
        || AttemptOutcome::Failed(std::sync::Arc::new(StrategyError::timed_out(Duration::ZERO)));
    let absent = || {
        let error = StrategyError::timed_out(Duration::ZERO).optional(true);
        AttemptOutcome::Failed(std::sync::Arc::new(error))
    };
    let skipped = || AttemptOutcome::Skipped(String::new());
    for (outcomes, kind, stale_is_better) in [
        (vec![not_found(true), skipped()], "not found", false),
        (vec![not_found(true), failed()], "not found", true),
        (vec![failed(), not_found(true)], "could not ask", true),
        (vec![absent(), not_found(true)], "not found", true),
        (vec![not_found(false), absent()], "could not ask", true),
        (vec![not_found(false), skipped()], "not found", false),
        (vec![not_found(false), failed()], "could not ask", true),
        (vec![skipped(), skipped()], "could not ask", true),
        (vec![not_found(false), AttemptOutcome::NotAsked], "timed out", true),
        (vec![failed(), AttemptOutcome::NotAsked], "timed out", true),
        (vec![not_found(true), AttemptOutcome::NotAsked], "not found", false),
    ] {
        let error = error_of(&outcomes);
        let is = match &error {
            DiscoverError::NotFound { .. } => "not found",
            DiscoverError::CouldNotAsk { .. } => "could not ask",
            DiscoverError::TimedOut { .. } => "timed out",
            other => panic!("{other:?}"),
        };
        assert_eq!(is, kind, "{outcomes:?}");
        assert_eq!(error.is_inconclusive(), stale_is_better, "{outcomes:?}");
    }
}
