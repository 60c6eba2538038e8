//! What services learn of those that they need.

use super::*;

#[tokio::test]
async fn service_starts_after_its_needs_with_their_endpoints() {
    let env = TestEnv::new().await;
    let api = serde_json::json!(["sh", "-c", TestEnv::server_after_go()]);
    let mut stack = start(
        &env,
        &format!(
            "  api: {{command: {api}, pool: mine}}
  worker: {{command: 'sh -c \"echo $API_PORT $PORTOLAN_SCOPE; exec sleep 1000\"', port: none, needs: [api]}}"
        ),
    );
    let api = stack.state("api", |state| *state == InstanceState::Starting).await;
    assert_eq!(api.got, Some(env.port(0)));
    // Its program does not listen yet: it must not be discovered, and dependents must not start.
    assert_eq!(env.registered(), []);
    assert_eq!(stack.state("worker", |_| true).await.state, InstanceState::Waiting);

    env.write("go");
    while stack.line().await.starts_with("api") {}
    let worker = stack.state("worker", |state| *state == InstanceState::Running).await;
    assert_eq!(worker.found.into_values().next(), Some(format!("127.0.0.1:{}", env.port(0))));
    let (rows, _) = stack.stop().await;
    assert!(rows.iter().all(|row| row.state == InstanceState::Exited { code: 0 }), "{rows:?}");
    assert_eq!((env.registered(), env.holders()), (vec![], vec![]));
}

#[tokio::test]
async fn environment_of_the_file_takes_precedence() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  api: {command: sleep 1000, pool: mine, health: none}
  worker: {command: sh -c 'echo $API_URL $API_HOST', port: none, needs: [api], env: {API_URL: 'mine'}}",
    );
    assert_eq!(stack.line().await, "worker: mine 127.0.0.1");
    stack.stop().await;
}

#[tokio::test]
async fn failed_need_fails_its_dependents_and_ends_the_stack() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  a: {command: no-such-program-here, pool: mine}
  b: {command: sleep 1000, port: none, needs: [a], restart: always}
  c: {command: sleep 1000, port: none, needs: [b-elsewhere, a]}",
    );
    for name in ["b", "c"] {
        let row = stack.state(name, InstanceState::is_final).await;
        assert_eq!(
            row.state,
            InstanceState::Failed { reason: "needs a, which failed".to_owned(), code: 1 }
        );
    }
    stack.stop().await;
}

#[tokio::test]
async fn job_runs_to_its_end_before_its_dependents_start() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  migrate: {command: sh -c 'while ! test -e go; do sleep 0.02; done; echo migrated', port: none}
  api: {command: sh -c 'echo serving; exec sleep 1000', port: none, needs: {migrate: completed}}
  beside: {command: sh -c 'echo beside; exec sleep 1000', port: none, needs: {migrate: started}}",
    );
    assert_eq!(stack.line().await, "beside: beside");
    assert_eq!(stack.state("api", |_| true).await.state, InstanceState::Waiting);
    env.write("go");
    assert_eq!(stack.line().await, "migrate: migrated");
    assert_eq!(stack.line().await, "api: serving");
    stack.stop().await;
}

#[tokio::test]
async fn need_that_has_ended_fails_its_dependents() {
    let env = TestEnv::new().await;
    let stack = start(
        &env,
        "  db: {command: 'true', pool: mine, health: none}
  api: {command: sleep 1000, port: none, needs: [db]}",
    );
    let end = tokio::time::timeout(TIMEOUT, stack.task).await.expect("an end in time").unwrap();
    let InstanceState::Failed { reason, .. } = &end.rows[1].state else { panic!("{:?}", end.rows) };
    assert!(reason.starts_with("needs db, which has ended; if it is a job"), "{reason}");
}

#[test]
fn slip_in_a_need_is_an_error() {
    let file = "services: {postgres-1: {command: x}, api: {command: x, needs: [postgres1]}}";
    let error = serde_saphyr::from_str::<StackFile>(file).unwrap().validate().unwrap_err();
    assert_eq!(error.path(), "services.api.needs");
    assert!(
        matches!(error, InvalidStack::NeedsSimilar { ref similar, .. } if similar == "postgres-1")
    );
    let file = "services: {api: {command: x, needs: {elsewhere: completed}}}";
    let error = serde_saphyr::from_str::<StackFile>(file).unwrap().validate().unwrap_err();
    assert!(matches!(error, InvalidStack::NeedsForeign { .. }));
}

#[tokio::test]
async fn each_replica_knows_its_number() {
    let env = TestEnv::new().await;
    let mut stack = start(
        &env,
        "  a:
    command: sh -c 'echo $PORTOLAN_REPLICA {replica} $NAME; exec sleep 1000'
    port: none
    instances: 2
    env: {NAME: 'a-{replica}'}",
    );
    let mut lines = [stack.line().await, stack.line().await];
    lines.sort();
    assert_eq!(lines, ["a: 1 1 a-1", "a: 2 2 a-2"]);
    stack.stop().await;
}
