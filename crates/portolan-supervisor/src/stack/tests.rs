use std::net::TcpListener;
use std::path::Path;

use portolan_agent::HostReservations;
use portolan_client::DiscoveryConfig;
use portolan_core::{HealthStatus, PoolRange, PortRange};
use portolan_port_allocator::PortAllocatorConfig;

use super::*;
use crate::test_env::{TIMEOUT, TestEnv};

const SCOPE: &str = "shop";

/// A stack that runs in the background.
struct Running {
    rows: watch::Receiver<Vec<InstanceStatus>>,
    lines: mpsc::Receiver<OutputLine>,
    stop: StopRequest,
    task: tokio::task::JoinHandle<StackEnd>,
}

/// Starts the services of this YAML; `POOL` is the env's pool, `#` a line.
fn start(env: &TestEnv, services: &str) -> Running {
    let file: StackFile = serde_saphyr::from_str(&format!("services:\n{services}")).unwrap();
    let context = context(env.folder.path(), env.allocator().pools());
    let stack = Stack::plan(&file, &context).unwrap();
    let rows = stack.rows();
    let (to, lines) = mpsc::channel(64);
    let (stop, deps, clients) = (StopRequest::default(), env.deps(), clients(env));
    let stopped = stop.clone();
    let task = tokio::spawn(async move { stack.run(&deps, &clients, to, &stopped).await });
    Running { rows, lines, stop, task }
}

fn clients(env: &TestEnv) -> StackClients {
    StackClients { discovery: discovery(env), uncached: discovery(env) }
}

fn context(folder: &Path, pools: Pools) -> StackContext {
    StackContext {
        scope: SCOPE.parse().unwrap(),
        folder: folder.to_owned(),
        host: Host::loopback(),
        ttl: Ttl::DEFAULT,
        environment: BTreeMap::from([("PORTOLAN_SCOPE".to_owned(), SCOPE.to_owned())]),
        pools,
        url_schemes: Default::default(),
    }
}

#[test]
fn wanted_port_is_the_default_port_of_the_configured_pool() {
    let mut config = PortAllocatorConfig::default();
    let web = PoolRange::new(PortRange::known(3001, 3010)).with_default(3000);
    config.port_ranges.insert("web".to_owned(), web);
    config.services.insert("orders".to_owned(), "web".to_owned());
    let file = "services: {api: {command: x, pool: web}, orders: {command: x}, other: {command: x},
        redis: {command: x}, pinned: {command: x, port: 81}, silent: {command: x, port: none}}";
    let file: StackFile = serde_saphyr::from_str(file).unwrap();
    let stack = Stack::plan(&file, &context(Path::new("/"), config.pools())).unwrap();
    let rows = stack.rows().borrow().clone();
    let wanted: Vec<_> = rows.iter().map(|row| (row.service.as_str(), row.wanted)).collect();
    let expected = [
        ("api", Some(3000)),
        ("orders", Some(3000)),
        ("other", None),
        ("pinned", Some(81)),
        ("redis", Some(6379)),
        ("silent", None),
    ];
    assert_eq!(wanted, expected);
}

fn discovery(env: &TestEnv) -> DiscoveryClient {
    let strategies = vec!["registry".parse().unwrap()];
    DiscoveryClient::builder()
        .config(DiscoveryConfig { strategies, ..DiscoveryConfig::default() })
        .registry_url(env.url.clone())
        .scope(SCOPE.parse().unwrap())
        .reservations(HostReservations::new(env.allocator()))
        .build()
        .unwrap()
}

// === impl Running ===

impl Running {
    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(TIMEOUT, self.lines.recv()).await.expect("a line in time");
        let line = line.expect("a line");
        format!("{}: {}", line.service, line.text)
    }

    async fn state(
        &mut self,
        service: &str,
        wanted: impl Fn(&InstanceState) -> bool,
    ) -> InstanceStatus {
        let is_wanted =
            |row: &&InstanceStatus| row.service.as_str() == service && wanted(&row.state);
        let reached = self.rows.wait_for(|rows| rows.iter().any(|row| is_wanted(&row)));
        let rows =
            tokio::time::timeout(TIMEOUT, reached).await.expect("the state in time").unwrap();
        rows.iter().find(is_wanted).unwrap().clone()
    }

    /// Takes it down, and returns the last rows and what was printed.
    async fn stop(mut self) -> (Vec<InstanceStatus>, Vec<String>) {
        self.stop.stop.cancel();
        let end = tokio::time::timeout(TIMEOUT, self.task).await.expect("an end in time").unwrap();
        let rows = end.rows;
        let mut printed = Vec::new();
        while let Some(line) = self.lines.recv().await {
            printed.push(format!("{}: {}", line.service, line.text));
        }
        (rows, printed)
    }
}

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
async fn output_is_forwarded_in_bounded_lines() {
    let env = TestEnv::new().await;
    let script = r"head -c 40000 /dev/zero | tr '\0' x; echo; printf '\377\r\nend'; echo err >&2";
    std::fs::write(env.path("script"), script).unwrap();
    let stack = start(&env, "  a: {command: sh script, port: none}");
    let mut lines = stack.lines;
    let mut printed = Vec::new();
    while let Some(line) = tokio::time::timeout(TIMEOUT, lines.recv()).await.expect("lines in time")
    {
        printed.push(line.text);
    }
    let long: Vec<usize> = printed.iter().map(String::len).filter(|len| *len > 10).collect();
    assert_eq!((long.iter().sum::<usize>(), long.len()), (40_000, 3));
    for line in ["\u{fffd}", "end", "err"] {
        assert!(printed.iter().any(|one| one == line), "{line:?} is missing");
    }
}

#[tokio::test]
async fn program_runs_on_if_its_output_is_not_received() {
    let env = TestEnv::new().await;
    let script = "head -c 500000 /dev/zero | tr '\\0' '\\n'; echo done > told";
    std::fs::write(env.path("script"), script).unwrap();
    let stack = start(&env, "  a: {command: sh script, port: none}");
    drop(stack.lines);
    env.line_in("told").await;
    let rows =
        tokio::time::timeout(TIMEOUT, stack.task).await.expect("an end in time").unwrap().rows;
    assert_eq!(rows[0].state, InstanceState::Exited { code: 0 });
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
