use super::*;

fn of(answers: &[AttemptOutcome]) -> DiscoverError {
    let attempt = |answer: &AttemptOutcome| Attempt {
        strategy: "dns".parse().unwrap(),
        took: Duration::ZERO,
        answer: answer.clone(),
    };
    let attempts = answers.iter().map(attempt).collect();
    let name = "api".parse().unwrap();
    DiscoverError::of(name, vec![Scope::default()], Duration::from_secs(1), attempts)
}

fn no(sure: bool) -> AttemptOutcome {
    AttemptOutcome::NotFound { reason: String::new(), sure }
}

#[test]
fn whoever_would_know_decides_that_there_is_none() {
    let failed = || {
        let limit = Duration::ZERO;
        AttemptOutcome::Failed(std::sync::Arc::new(crate::StrategyError::TimedOut { limit }))
    };
    let skipped = || AttemptOutcome::Skipped(String::new());
    for (answers, kind, stale_is_better) in [
        (vec![no(true), skipped()], "not found", false),
        (vec![no(true), failed()], "not found", true),
        (vec![no(false), skipped()], "not found", false),
        (vec![no(false), failed()], "could not ask", true),
        (vec![skipped(), skipped()], "could not ask", true),
        (vec![no(false), AttemptOutcome::NotAsked], "timed out", true),
        (vec![failed(), AttemptOutcome::NotAsked], "timed out", true),
        (vec![no(true), AttemptOutcome::NotAsked], "not found", false),
    ] {
        let error = of(&answers);
        let is = match &error {
            DiscoverError::NotFound { .. } => "not found",
            DiscoverError::CouldNotAsk { .. } => "could not ask",
            DiscoverError::TimedOut { .. } => "timed out",
            other => panic!("{other:?}"),
        };
        assert_eq!(is, kind, "{answers:?}");
        assert_eq!(error.is_want_of_answers(), stale_is_better, "{answers:?}");
    }
}
