//! Programs that are started again.

use std::net::TcpListener;

use super::*;

#[tokio::test]
async fn restart_on_another_port_is_in_the_status_and_its_output_is_captured() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        &format!(
            "  api:
    command: sh -c 'echo on $PORT; test $PORT = {} || exec sleep 1000; while ! test -e taken; do sleep 0.02; done; exit 1'
    pool: mine
    health: none",
            env.port(0)
        ),
    );
    assert_eq!(stack.line().await, format!("api: on {}", env.port(0)));
    let _foreign = TcpListener::bind(("127.0.0.1", env.port(0))).unwrap();
    env.write("taken");
    assert_eq!(stack.line().await, format!("api: on {}", env.port(1)));
    let next = Some(env.port(1));
    let moved = stack.rows.wait_for(|rows| rows[0].got == next);
    tokio::time::timeout(TIMEOUT, moved).await.expect("the new port in the table").unwrap();
    stack.stop().await;
}

#[tokio::test]
async fn failing_program_is_started_again_until_its_attempts_are_used_up() {
    let env = TestEnv::new().await;
    let stack = start(
        &env,
        "  a: {command: sh -c 'echo x >> runs; exit 3', port: none, restart: {policy: on-failure, attempts: 2, backoff: 1ms}}
  b: {command: sh -c 'echo x >> ended', port: none, restart: on-failure}",
    );
    let end = tokio::time::timeout(TIMEOUT, stack.task).await.expect("an end in time").unwrap();
    assert_eq!(end.exit_code, 3);
    assert_eq!(end.rows[0].state, InstanceState::Exited { code: 3 });
    let runs = |name: &str| std::fs::read_to_string(env.path(name)).unwrap().lines().count();
    assert_eq!((runs("runs"), runs("ended")), (3, 1));
}

#[tokio::test]
async fn failure_stops_the_stack_if_it_shall() {
    let env = TestEnv::new().await;
    let file = "services: {a: {command: sleep 1000, port: none}, b: {command: sh -c 'exit 5', port: none, needs: {a: started}}}";
    let file: StackFile = serde_saphyr::from_str(file).unwrap();
    let context = context(env.folder.path(), env.allocator().pools());
    let stack = Stack::plan(&file, &context).unwrap().abort_on_failure(true);
    let (to, _lines) = mpsc::channel(64);
    let (deps, clients, stop) = (env.deps(), clients(&env), StopRequest::default());
    let running = stack.run(&deps, &clients, to, &stop);
    let end = tokio::time::timeout(TIMEOUT, running).await.expect("an end in time");
    assert_eq!(end.exit_code, 5);
    assert_eq!(end.rows[0].state, InstanceState::Exited { code: 0 });
}

#[tokio::test]
async fn stack_that_waits_for_a_restart_can_be_stopped() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  a: {command: sh -c 'exit 3', port: none, restart: {policy: always, backoff: 1h, max_backoff: 1h}}",
    );
    let waits = |state: &InstanceState| matches!(state, InstanceState::Restarting { .. });
    let row = stack.state("a", waits).await;
    let expected = InstanceState::Restarting { reason: "exit status 3".to_owned(), attempt: 1 };
    assert_eq!(row.state, expected);
    let (rows, _) = stack.stop().await;
    assert_eq!(rows[0].state, InstanceState::Exited { code: 0 });
}

#[tokio::test]
async fn instance_with_a_critical_health_check_is_restarted() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  a:
    command: sh -c 'echo run; exec sleep 1000'
    pool: mine
    health: {check: 'command:ls well', interval: 100ms, failures_before_critical: 1, start_period: 0s}
    restart: {policy: on-failure, backoff: 1ms, max_backoff: 1ms}",
    );
    assert_eq!(stack.line().await, "a: run");
    assert_eq!(stack.line().await, "a: run");
    env.write("well");
    let passing = stack.rows.wait_for(|rows| rows[0].health == HealthStatus::Passing);
    tokio::time::timeout(TIMEOUT, passing).await.expect("health in time").unwrap();
    stack.stop().await;
}
