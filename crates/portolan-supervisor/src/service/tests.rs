use std::net::TcpListener;

use portolan_agent::AgentError;
use portolan_core::Remedy as _;
use portolan_port_allocator::AllocatorError;

use super::*;
use crate::test_env::{TestEnv, poll_until};

mod handoff;

/// Runs on until it is asked to end.
const LASTING: &str = "exec sleep 1000";

fn exit_code(ended: Result<Option<ExitStatus>, StartError>) -> Option<u8> {
    ended.unwrap().map(crate::child::exit_code)
}

#[tokio::test]
async fn service_is_registered_while_its_program_runs() {
    let env = TestEnv::new().await;
    let mut spec =
        env.shell("echo $PORT $WHERE > told; while ! test -e go; do sleep 0.02; done; exit 7");
    spec.environment.insert("WHERE".to_owned(), "at {port}".to_owned());
    let mut service = Service::start(spec, env.deps()).await.unwrap();
    let port = env.port(0);
    assert_eq!(env.line_in("told").await, format!("{port} at {port}"));
    let registered: Vec<_> = env.registered().iter().map(ServiceEndpoint::address).collect();
    assert_eq!(registered, [service.endpoint().unwrap().address()]);
    assert_eq!(registered, [format!("127.0.0.1:{port}")]);

    env.write("go");
    let ended = service.wait().await;
    assert_eq!(exit_code(service.handle(ended).await), Some(7));
    service.finish().await;
    assert_eq!(env.registered(), []);
    assert_eq!(env.holders(), []);
}

#[tokio::test]
async fn service_of_a_configured_http_pool_has_the_protocol_http() {
    let env = TestEnv::new().await;
    let mut deps = env.deps();
    deps.allocator.port_ranges.values_mut().for_each(|pool| *pool = pool.with_http(true));
    let spec = ServiceSpec { name: "orders".parse().unwrap(), ..env.shell(LASTING) };
    let service = Service::start(spec, deps).await.unwrap();
    assert_eq!(service.endpoint().unwrap().protocol, "http");
    service.stop(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn service_without_a_port_is_not_registered() {
    let env = TestEnv::new().await;
    let spec = ServiceSpec { port: None, ..env.shell("echo ${PORT:-none} > told") };
    let mut service = Service::start(spec, env.deps()).await.unwrap();
    assert_eq!((service.endpoint(), env.registered()), (None, vec![]));
    assert_eq!(env.line_in("told").await, "none");
    let ended = service.wait().await;
    assert_eq!(exit_code(service.handle(ended).await), Some(0));
}

#[tokio::test]
async fn program_is_stopped_if_it_cannot_be_registered() {
    let env = TestEnv::new().await;
    let deps = ServiceDeps { registry: None, ..env.deps() };
    let error = Service::start(env.shell(LASTING), deps).await.unwrap_err();
    assert!(matches!(error, StartError::Agent(AgentError::NoPublishTarget { .. })), "{error}");
    assert_eq!(env.holders(), [], "the program still holds its port");
}

#[tokio::test]
async fn missing_program_is_an_error_with_a_remedy_and_releases_its_port() {
    let env = TestEnv::new().await;
    let mut spec = env.shell("");
    spec.command = "no-such-program-here".parse().unwrap();
    let error = Service::start(spec, env.deps()).await.unwrap_err().with_remedy();
    assert!(error.contains("no-such-program-here") && error.contains("add it to PATH"), "{error}");
    assert_eq!(env.holders(), []);
}

#[tokio::test]
async fn program_is_not_started_without_a_free_port() {
    let env = TestEnv::new().await;
    let foreign: Vec<_> =
        (0..4).map(|index| TcpListener::bind(("0.0.0.0", env.port(index))).unwrap()).collect();
    let error = Service::start(env.shell("echo > started"), env.deps()).await.unwrap_err();
    assert!(matches!(error, StartError::Port(AllocatorError::NoPortsAvailable { .. })), "{error}");
    assert!(!env.path("started").exists());
    drop(foreign);
}

/// Fails once the foreign has the first port; runs on with another one.
fn loser(env: &TestEnv) -> String {
    let first = env.port(0);
    format!(
        "echo $PORT > port; test $PORT = {first} || {LASTING}; \
         while ! test -e taken; do sleep 0.02; done; exit 1"
    )
}

#[tokio::test]
async fn program_is_restarted_on_the_next_port_if_its_port_is_taken() {
    let env = TestEnv::new().await;
    let mut service = Service::start(env.shell(&loser(&env)), env.deps()).await.unwrap();
    env.line_in("port").await;
    let _foreign = TcpListener::bind(("127.0.0.1", env.port(0))).unwrap();
    env.write("taken");

    let ended = service.wait().await;
    assert_eq!(exit_code(service.handle(ended).await), None, "it was not started again");
    let registered: Vec<_> = env.registered().iter().map(|endpoint| endpoint.port).collect();
    assert_eq!(registered, [env.port(1)]);
    let held: Vec<_> = env.holders().iter().map(|holder| holder.port).collect();
    assert_eq!(held, [env.port(1)]);
    service.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn service_is_registered_when_its_program_listens() {
    let env = TestEnv::new().await;
    let spec = env.shell(TestEnv::server_after_go());
    let spec = ServiceSpec { check: Some("tcp".parse().unwrap()), ..spec };
    let mut service = Service::start(spec, env.deps()).await.unwrap();
    assert_eq!((service.endpoint(), env.registered()), (None, vec![]));
    env.write("go");
    let event = service.wait().await;
    assert!(matches!(event, Ok(ProgramEvent::Listening)), "{event:?}");
    assert_eq!(exit_code(service.handle(event).await), None);
    let registered: Vec<_> = env.registered().iter().map(|endpoint| endpoint.port).collect();
    assert_eq!(registered, [env.port(0)]);
    service.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(env.registered(), []);
    // What the shell started keeps the lease until it is gone as well.
    poll_until("the end of the lease", || env.holders().is_empty().then_some(())).await;
}

#[tokio::test]
async fn foreign_listener_is_not_registered_as_the_service() {
    let env = TestEnv::new().await;
    let script = format!("echo $PORT >> ports; {LASTING}");
    let spec = ServiceSpec { check: Some("tcp".parse().unwrap()), ..env.shell(&script) };
    let mut service = Service::start(spec, env.deps()).await.unwrap();
    assert_eq!(env.line_in("ports").await, env.port(0).to_string());
    assert_eq!((service.endpoint(), env.registered()), (None, vec![]), "nothing listens yet");

    let foreign: Vec<_> =
        (0..3).map(|index| TcpListener::bind(("127.0.0.1", env.port(index))).unwrap()).collect();
    // The ports behind the first are taken too by now, but the last one is free.
    let event = service.wait().await;
    assert!(matches!(event, Ok(ProgramEvent::PortTaken { .. })), "{event:?}");
    assert_eq!(exit_code(service.handle(event).await), None);
    assert_eq!(service.port(), Some(env.port(3)));
    assert_eq!(env.registered(), []);
    drop(foreign);
    service.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn program_that_fails_for_another_reason_is_not_restarted() {
    let env = TestEnv::new().await;
    let mut service = Service::start(env.shell("exit 1"), env.deps()).await.unwrap();
    let ended = service.wait().await;
    assert_eq!(exit_code(service.handle(ended).await), Some(1));
}

#[tokio::test]
async fn service_is_deregistered_before_its_program_is_stopped() {
    let env = TestEnv::new().await;
    let script = "trap 'echo asked > asked' TERM; echo ready > ready; \
                  while ! test -e go; do sleep 0.02; done";
    let service = Service::start(env.shell(script), env.deps()).await.unwrap();
    env.line_in("ready").await;
    let stopping = tokio::spawn(service.stop(Duration::from_secs(60)));
    env.line_in("asked").await;
    assert_eq!(env.registered(), []);
    env.write("go");
    stopping.await.unwrap().unwrap();
    // A process that a concurrent test forks has the table until its exec.
    poll_until("the end of the lease", || env.holders().is_empty().then_some(())).await;
}

#[tokio::test]
async fn skip_grace_token_ends_the_grace_period() {
    let env = TestEnv::new().await;
    let script = "trap '' TERM; echo ready > ready; sleep 1000";
    let service = Service::start(env.shell(script), env.deps()).await.unwrap();
    env.line_in("ready").await;
    let skip_grace = service.skip_grace();
    let stopping = tokio::spawn(service.stop(Duration::from_secs(3600)));
    skip_grace.cancel();
    let status = tokio::time::timeout(crate::test_env::TIMEOUT, stopping).await.unwrap();
    assert_eq!(crate::child::exit_code(status.unwrap().unwrap()), 137);
}

#[tokio::test]
async fn leftover_processes_are_stopped_with_their_group() {
    let env = TestEnv::new().await;
    let script = "sleep 1000 & echo $! > left";
    let mut service = Service::start(env.shell(script), env.deps()).await.unwrap();
    let left = env.line_in("left").await;
    service.wait().await.unwrap();
    service.finish_group(Duration::from_secs(5)).await;
    poll_until("the end of what was left behind", || {
        let stat = portolan_host_facts::ProcessStat::read(left.parse().unwrap());
        (!stat.is_some_and(|stat| stat.is_running())).then_some(())
    })
    .await;
}
