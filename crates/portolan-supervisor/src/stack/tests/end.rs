//! How stacks end.

use super::*;

#[tokio::test]
async fn services_are_stopped_before_their_needs() {
    let env = TestEnv::new().await;
    let script = |name: &str| {
        format!(
            "sh -c 'trap \"echo {name} >> ended; exit\" TERM; echo up; while :; do sleep 0.02; done'"
        )
    };
    let mut stack = start(
        &env,
        &format!(
            "  a: {{command: {:?}, pool: mine, health: none}}
  b: {{command: {:?}, pool: mine, health: none, needs: [a]}}
  c: {{command: {:?}, port: none, needs: [b]}}",
            script("a"),
            script("b"),
            script("c")
        ),
    );
    for _ in 0..3 {
        stack.line().await;
    }
    stack.stop().await;
    assert_eq!(std::fs::read_to_string(env.path("ended")).unwrap(), "c\nb\na\n");
}

#[tokio::test]
async fn program_that_ignores_sigterm_is_killed_at_the_deadline() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  a: {command: sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.02; done', port: none, grace: 50ms}",
    );
    stack.line().await;
    let (rows, _) = stack.stop().await;
    assert_eq!(rows[0].state, InstanceState::Exited { code: 137 });
}

#[tokio::test]
async fn each_service_of_a_chain_has_its_whole_grace_period() {
    let env = TestEnv::new().await;
    let script = |n: u32| {
        format!(
            "sh -c 'trap \"sleep 0.5; echo {n} >> saved; exit\" TERM; echo up; while :; do sleep 0.02; done'"
        )
    };
    let mut services = String::new();
    for n in 0..5 {
        let needs = if n == 0 { String::new() } else { format!("needs: [s{}], ", n - 1) };
        services += &format!(
            "  s{n}: {{command: {:?}, pool: mine, health: none, {needs}grace: 2s}}\n",
            script(n)
        );
    }
    // The pool has four ports; the last service has none.
    let services =
        services.replace("pool: mine, health: none, needs: [s3]", "port: none, needs: [s3]");
    let mut stack = start(&env, &services);
    for _ in 0..5 {
        stack.line().await;
    }
    stack.stop().await;
    // All of them together take longer than the grace period of one.
    assert_eq!(std::fs::read_to_string(env.path("saved")).unwrap(), "4\n3\n2\n1\n0\n");
}

#[tokio::test]
async fn forced_stop_ends_the_grace_period() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  a: {command: sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.02; done', port: none, grace: 1h}",
    );
    stack.line().await;
    stack.stop.force.cancel();
    let (rows, _) = stack.stop().await;
    assert_eq!(rows[0].state, InstanceState::Exited { code: 137 });
}

#[tokio::test]
async fn stack_ends_with_the_status_of_its_first_failure() {
    let env = TestEnv::new().await;
    let stack = start(
        &env,
        "  a: {command: sh -c 'exit 42', port: none}\n  b: {command: sh -c 'while ! test -e go; do sleep 0.02; done; exit 3', port: none}",
    );
    let mut rows = stack.rows.clone();
    rows.wait_for(|rows| rows[0].state.is_final()).await.unwrap();
    env.write("go");
    let end = tokio::time::timeout(TIMEOUT, stack.task).await.expect("an end in time").unwrap();
    assert_eq!(end.exit_code, 42);
}

#[tokio::test]
async fn failed_service_has_a_reason_and_the_stack_ends_with_its_last_program() {
    let env = TestEnv::new().await;
    let stack = start(
        &env,
        "  missing: {command: no-such-program-here, port: none}
  broken: {command: sh -c 'exit 3', port: none}
  good: {command: 'true', port: none}",
    );
    let rows =
        tokio::time::timeout(TIMEOUT, stack.task).await.expect("an end in time").unwrap().rows;
    let state = |name: &str| &rows.iter().find(|row| row.service.as_str() == name).unwrap().state;
    assert!(
        matches!(state("missing"), InstanceState::Failed { reason, code: 127 } if reason.contains("add it to PATH"))
    );
    assert_eq!(*state("broken"), InstanceState::Exited { code: 3 });
    assert!(state("broken").is_failure() && !state("good").is_failure());
}

#[tokio::test]
async fn stack_that_waits_for_a_missing_need_can_be_stopped() {
    let env = TestEnv::new().await;
    let mut stack = start(&env, "  a: {command: sleep 1000, port: none, needs: [elsewhere]}");
    stack.state("a", |state| *state == InstanceState::Waiting).await;
    let (rows, _) = stack.stop().await;
    assert_eq!(rows[0].state, InstanceState::Exited { code: 0 });
}

#[tokio::test]
async fn descendant_that_keeps_the_pipe_open_does_not_delay_the_end() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  a: {command: sh -c 'setsid sh -c \"echo \\$\\$; exec sleep 1000\" & exec sleep 1000', port: none}",
    );
    let daemon: i32 = stack.line().await.trim_start_matches("a: ").parse().unwrap();
    // Its end would hang here, since the line of output is never closed.
    stack.stop().await;
    let daemon = rustix::process::Pid::from_raw(daemon).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
}
