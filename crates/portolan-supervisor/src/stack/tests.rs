use std::net::TcpListener;

use portolan_agent::HostReservations;
use portolan_client::DiscoveryConfig;
use portolan_core::{PoolRange, PortRange};
use portolan_port_allocator::PortAllocatorConfig;

use super::*;
use crate::testing::{SOON, World};

const SCOPE: &str = "shop";

/// A stack that runs in the background.
struct Running {
    rows: watch::Receiver<Vec<Row>>,
    lines: mpsc::Receiver<OutputLine>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Vec<Row>>,
}

/// Starts the services of this YAML; `POOL` is the world's pool, `#` a line.
fn start(world: &World, services: &str) -> Running {
    let file: StackFile = serde_saphyr::from_str(&format!("services:\n{services}")).unwrap();
    let context = context(world.folder.path(), world.allocator().pools());
    let stack = Stack::plan(&file, &context).unwrap();
    let rows = stack.rows();
    let (to, lines) = mpsc::channel(64);
    let (stop, parts, discovery) = (CancellationToken::new(), world.parts(), discovery(world));
    let stopped = stop.clone();
    let task = tokio::spawn(async move { stack.run(&parts, &discovery, to, &stopped).await });
    Running { rows, lines, stop, task }
}

fn context(folder: &Path, pools: Pools) -> StackContext {
    StackContext {
        scope: SCOPE.parse().unwrap(),
        folder: folder.to_owned(),
        host: Host::loopback(),
        ttl: Ttl::DEFAULT,
        environment: BTreeMap::from([("PORTOLAN_SCOPE".to_owned(), SCOPE.to_owned())]),
        pools,
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

fn discovery(world: &World) -> DiscoveryClient {
    let strategies = vec!["registry".parse().unwrap()];
    DiscoveryClient::builder()
        .config(DiscoveryConfig { strategies, ..DiscoveryConfig::default() })
        .registry_url(world.url.clone())
        .scope(SCOPE.parse().unwrap())
        .reservations(HostReservations::new(world.allocator()))
        .build()
        .unwrap()
}

// === impl Running ===

impl Running {
    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(SOON, self.lines.recv()).await.expect("a line in time");
        let line = line.expect("a line");
        format!("{}: {}", line.service, line.text)
    }

    async fn state(&mut self, service: &str, wanted: impl Fn(&State) -> bool) -> Row {
        let is_wanted = |row: &&Row| row.service.as_str() == service && wanted(&row.state);
        let reached = self.rows.wait_for(|rows| rows.iter().any(|row| is_wanted(&row)));
        let rows = tokio::time::timeout(SOON, reached).await.expect("the state in time").unwrap();
        rows.iter().find(is_wanted).unwrap().clone()
    }

    /// Takes it down, and returns the last rows and what was printed.
    async fn stop(mut self) -> (Vec<Row>, Vec<String>) {
        self.stop.cancel();
        let rows = tokio::time::timeout(SOON, self.task).await.expect("an end in time").unwrap();
        let mut printed = Vec::new();
        while let Some(line) = self.lines.recv().await {
            printed.push(format!("{}: {}", line.service, line.text));
        }
        (rows, printed)
    }
}

#[tokio::test]
async fn each_starts_after_what_it_needs_and_knows_where_that_is() {
    let world = World::new().await;
    let api = serde_json::json!(["sh", "-c", World::server_when_told()]);
    let mut stack = start(
        &world,
        &format!(
            "  api: {{command: {api}, pool: mine}}
  worker: {{command: 'sh -c \"echo $API_PORT $PORTOLAN_SCOPE; exec sleep 1000\"', port: none, needs: [api]}}"
        ),
    );
    let api = stack.state("api", |state| *state == State::Running).await;
    assert_eq!(api.got, Some(world.port(0)));
    // Its program does not listen yet, so nobody may find it, and nobody may count on it.
    assert_eq!(world.registered(), []);
    assert_eq!(stack.state("worker", |_| true).await.state, State::Waiting);

    world.write("go");
    while stack.line().await.starts_with("api") {}
    let worker = stack.state("worker", |state| *state == State::Running).await;
    assert_eq!(worker.found.into_values().next(), Some(format!("127.0.0.1:{}", world.port(0))));
    let (rows, _) = stack.stop().await;
    assert!(rows.iter().all(|row| row.state == State::Exited { code: 0 }), "{rows:?}");
    assert_eq!((world.registered(), world.holders()), (vec![], vec![]));
}

#[tokio::test]
async fn what_the_file_says_of_the_environment_has_the_last_word() {
    let world = World::new().await;
    let mut stack = start(
        &world,
        "  api: {command: sleep 1000, pool: mine, health: none}
  worker: {command: sh -c 'echo $API_URL $API_HOST', port: none, needs: [api], env: {API_URL: 'mine'}}",
    );
    assert_eq!(stack.line().await, "worker: mine 127.0.0.1");
    stack.stop().await;
}

#[tokio::test]
async fn those_that_need_others_are_taken_down_before_them() {
    let world = World::new().await;
    let script = |name: &str| {
        format!(
            "sh -c 'trap \"echo {name} >> ended; exit\" TERM; echo up; while :; do sleep 0.02; done'"
        )
    };
    let mut stack = start(
        &world,
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
    assert_eq!(std::fs::read_to_string(world.path("ended")).unwrap(), "c\nb\na\n");
}

#[tokio::test]
async fn a_program_that_will_not_end_is_ended_at_the_deadline() {
    let world = World::new().await;
    let mut stack = start(
        &world,
        "  a: {command: sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.02; done', port: none}",
    );
    stack.line().await;
    let (rows, _) = stack.stop().await;
    assert_eq!(rows[0].state, State::Exited { code: 0 });
}

#[tokio::test]
async fn a_service_that_fails_says_why_and_the_stack_ends_with_its_last_program() {
    let world = World::new().await;
    let stack = start(
        &world,
        "  missing: {command: no-such-program-here, port: none}
  broken: {command: sh -c 'exit 3', port: none}
  good: {command: 'true', port: none}",
    );
    let rows = tokio::time::timeout(SOON, stack.task).await.expect("an end in time").unwrap();
    let state = |name: &str| &rows.iter().find(|row| row.service.as_str() == name).unwrap().state;
    assert!(matches!(state("missing"), State::Failed { reason } if reason.contains("in PATH?")));
    assert_eq!(*state("broken"), State::Exited { code: 3 });
    assert!(state("broken").is_failure() && !state("good").is_failure());
}

#[tokio::test]
async fn a_stack_that_waits_for_what_never_comes_ends_when_it_is_told_to() {
    let world = World::new().await;
    let mut stack = start(&world, "  a: {command: sleep 1000, port: none, needs: [elsewhere]}");
    stack.state("a", |state| *state == State::Waiting).await;
    let (rows, _) = stack.stop().await;
    assert_eq!(rows[0].state, State::Exited { code: 0 });
}

#[tokio::test]
async fn a_descendant_that_holds_the_pipe_open_does_not_hold_up_the_end() {
    let world = World::new().await;
    let mut stack = start(
        &world,
        "  a: {command: sh -c 'setsid sh -c \"echo \\$\\$; exec sleep 1000\" & exec sleep 1000', port: none}",
    );
    let daemon: i32 = stack.line().await.trim_start_matches("a: ").parse().unwrap();
    // Its end would hang here, since the line of output is never closed.
    stack.stop().await;
    let daemon = rustix::process::Pid::from_raw(daemon).unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_stolen_port_is_seen_in_the_table_and_the_next_program_is_heard() {
    let world = World::new().await;
    let mut stack = start(
        &world,
        &format!(
            "  api:
    command: sh -c 'echo on $PORT; test $PORT = {} || exec sleep 1000; while ! test -e taken; do sleep 0.02; done; exit 1'
    pool: mine
    health: none",
            world.port(0)
        ),
    );
    assert_eq!(stack.line().await, format!("api: on {}", world.port(0)));
    let _stranger = TcpListener::bind(("127.0.0.1", world.port(0))).unwrap();
    world.write("taken");
    assert_eq!(stack.line().await, format!("api: on {}", world.port(1)));
    let next = Some(world.port(1));
    let moved = stack.rows.wait_for(|rows| rows[0].got == next);
    tokio::time::timeout(SOON, moved).await.expect("the new port in the table").unwrap();
    stack.stop().await;
}

#[tokio::test]
async fn whatever_a_program_prints_is_passed_on_in_bounded_lines() {
    let world = World::new().await;
    let script = r"head -c 40000 /dev/zero | tr '\0' x; echo; printf '\377\r\nend'; echo err >&2";
    std::fs::write(world.path("script"), script).unwrap();
    let stack = start(&world, "  a: {command: sh script, port: none}");
    let mut lines = stack.lines;
    let mut printed = Vec::new();
    while let Some(line) = tokio::time::timeout(SOON, lines.recv()).await.expect("lines in time") {
        printed.push(line.text);
    }
    let long: Vec<usize> = printed.iter().map(String::len).filter(|len| *len > 10).collect();
    assert_eq!((long.iter().sum::<usize>(), long.len()), (40_000, 3));
    for line in ["\u{fffd}", "end", "err"] {
        assert!(printed.iter().any(|one| one == line), "{line:?} is missing");
    }
}

#[tokio::test]
async fn a_program_that_nobody_listens_to_runs_on() {
    let world = World::new().await;
    let script = "head -c 500000 /dev/zero | tr '\\0' '\\n'; echo done > told";
    std::fs::write(world.path("script"), script).unwrap();
    let stack = start(&world, "  a: {command: sh script, port: none}");
    drop(stack.lines);
    world.line_in("told").await;
    let rows = tokio::time::timeout(SOON, stack.task).await.expect("an end in time").unwrap();
    assert_eq!(rows[0].state, State::Exited { code: 0 });
}

#[tokio::test]
async fn who_needs_what_failed_fails_with_it_and_the_stack_ends() {
    let world = World::new().await;
    let mut stack = start(
        &world,
        "  a: {command: no-such-program-here, pool: mine}
  b: {command: sleep 1000, port: none, needs: [a]}
  c: {command: sleep 1000, port: none, needs: [b-elsewhere, a]}",
    );
    for name in ["b", "c"] {
        let row = stack.state(name, State::is_final).await;
        assert_eq!(row.state, State::Failed { reason: "needs a, which failed".to_owned() });
    }
    stack.stop().await;
}
