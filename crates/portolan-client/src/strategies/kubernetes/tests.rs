use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::deadline::Deadline;

async fn ask(script: &str, name: &str) -> StrategyOutcome {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join(PROGRAM);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let deadline = Deadline::after(Duration::from_secs(20));
    let mut query = StrategyQuery::new(name.parse().unwrap(), deadline);
    query.scopes.insert(0, "shop".parse().unwrap());
    Kubernetes { program: Some(program) }.lookup(&query).await
}

#[tokio::test]
async fn exit_status_decides_what_an_answer_means() {
    let not_found = ask("echo \"error: no $*\" >&2; exit 3", "web").await;
    let StrategyOutcome::NotFound { reason, authoritative: false } = not_found else {
        panic!("{not_found:?}")
    };
    assert_eq!(
        reason,
        "no --json --quiet discover web --namespace shop; no --json --quiet discover web"
    );
    for (script, expected, temporary) in [
        ("echo 'error: refused\u{1b}[2J' >&2; exit 5", "refused\\u001b[2J", true),
        ("echo 'error: forbidden' >&2; exit 6", "forbidden", false),
        ("exit 1", "without a message", false),
        ("echo '{}'", "cannot be used", false),
        ("kill -9 $$", "without a message", false),
    ] {
        let StrategyOutcome::Failed(error) = ask(script, "web").await else { panic!("{script}") };
        assert!(error.to_string().contains(expected), "{script}: {error}");
        assert_eq!(error.is_temporary(), temporary, "{script}");
    }
    assert!(matches!(ask("echo '[]'", "web").await, StrategyOutcome::NotFound { .. }));
    assert!(matches!(ask("exit 0", "no_service").await, StrategyOutcome::Skipped(_)));
}

#[tokio::test]
async fn output_without_an_end_is_not_read() {
    let outcome = ask("exec yes", "web").await;
    assert!(matches!(outcome, StrategyOutcome::Failed(_)), "{outcome:?}");
}

#[tokio::test]
async fn program_that_is_missing_is_named_with_a_remedy() {
    for program in [None, Some("/nonexistent/portolan-kubernetes".into())] {
        let strategy = Kubernetes { program };
        let deadline = Deadline::after(Duration::from_secs(20));
        let query = StrategyQuery::new("web".parse().unwrap(), deadline);
        let StrategyOutcome::Failed(error) = strategy.lookup(&query).await else { panic!() };
        assert!(error.is_optional() && error.to_string().contains("on the PATH"), "{error}");
    }
}
