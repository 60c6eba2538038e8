use std::net::TcpListener;

use portolan_agent::AgentError;
use portolan_port_allocator::AllocatorError;

use super::*;
use crate::testing::{World, until};

mod handoff;

/// Runs on until it is asked to end.
const LASTING: &str = "exec sleep 1000";

fn exit_code(ended: Result<Option<ExitStatus>, StartError>) -> Option<u8> {
    ended.unwrap().map(crate::child::exit_code)
}

#[tokio::test]
async fn a_service_is_found_while_its_program_runs_and_leaves_nothing_behind() {
    let world = World::new().await;
    let mut spec =
        world.shell("echo $PORT $WHERE > told; while ! test -e go; do sleep 0.02; done; exit 7");
    spec.environment.insert("WHERE".to_owned(), "at {port}".to_owned());
    let mut service = Service::start(spec, world.parts()).await.unwrap();
    let port = world.port(0);
    assert_eq!(world.line_in("told").await, format!("{port} at {port}"));
    let registered: Vec<_> = world.registered().iter().map(ServiceEndpoint::address).collect();
    assert_eq!(registered, [service.endpoint().unwrap().address()]);
    assert_eq!(registered, [format!("127.0.0.1:{port}")]);

    world.write("go");
    let ended = service.wait().await;
    assert_eq!(exit_code(service.take(ended).await), Some(7));
    service.finish().await;
    assert_eq!(world.registered(), []);
    assert_eq!(world.holders(), []);
}

#[tokio::test]
async fn service_of_a_configured_http_pool_has_the_protocol_http() {
    let world = World::new().await;
    let mut parts = world.parts();
    parts.allocator.port_ranges.values_mut().for_each(|pool| *pool = pool.with_http(true));
    let spec = ServiceSpec { name: "orders".parse().unwrap(), ..world.shell(LASTING) };
    let service = Service::start(spec, parts).await.unwrap();
    assert_eq!(service.endpoint().unwrap().protocol, "http");
    service.stop(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_service_without_a_port_is_nobodys_to_find() {
    let world = World::new().await;
    let spec = ServiceSpec { port: None, ..world.shell("echo ${PORT:-none} > told") };
    let mut service = Service::start(spec, world.parts()).await.unwrap();
    assert_eq!((service.endpoint(), world.registered()), (None, vec![]));
    assert_eq!(world.line_in("told").await, "none");
    let ended = service.wait().await;
    assert_eq!(exit_code(service.take(ended).await), Some(0));
}

#[tokio::test]
async fn where_nobody_can_be_told_the_program_does_not_run_on_unseen() {
    let world = World::new().await;
    let parts = Parts { registry: None, ..world.parts() };
    let error = Service::start(world.shell(LASTING), parts).await.unwrap_err();
    assert!(matches!(error, StartError::Agent(AgentError::NobodyToTell { .. })), "{error}");
    assert_eq!(world.holders(), [], "the program still holds its port");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_with_a_remedy_and_holds_no_port() {
    let world = World::new().await;
    let mut spec = world.shell("");
    spec.command = "no-such-program-here".parse().unwrap();
    let error = Service::start(spec, world.parts()).await.unwrap_err().to_string();
    assert!(error.contains("no-such-program-here") && error.contains("in PATH?"), "{error}");
    assert_eq!(world.holders(), []);
}

#[tokio::test]
async fn without_a_free_port_nothing_is_started() {
    let world = World::new().await;
    let strangers: Vec<_> =
        (0..4).map(|index| TcpListener::bind(("0.0.0.0", world.port(index))).unwrap()).collect();
    let error = Service::start(world.shell("echo > started"), world.parts()).await.unwrap_err();
    assert!(matches!(error, StartError::Port(AllocatorError::NoPortsAvailable { .. })), "{error}");
    assert!(!world.path("started").exists());
    drop(strangers);
}

/// Fails once the stranger has the first port; runs on with another one.
fn loser(world: &World) -> String {
    let first = world.port(0);
    format!(
        "echo $PORT > port; test $PORT = {first} || {LASTING}; \
         while ! test -e taken; do sleep 0.02; done; exit 1"
    )
}

#[tokio::test]
async fn a_program_whose_port_was_stolen_is_started_on_the_next_one() {
    let world = World::new().await;
    let mut service = Service::start(world.shell(&loser(&world)), world.parts()).await.unwrap();
    world.line_in("port").await;
    let _stranger = TcpListener::bind(("127.0.0.1", world.port(0))).unwrap();
    world.write("taken");

    let ended = service.wait().await;
    assert_eq!(exit_code(service.take(ended).await), None, "it was not started again");
    let registered: Vec<_> = world.registered().iter().map(|endpoint| endpoint.port).collect();
    assert_eq!(registered, [world.port(1)]);
    let held: Vec<_> = world.holders().iter().map(|holder| holder.port).collect();
    assert_eq!(held, [world.port(1)]);
    service.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_service_is_found_once_its_own_program_listens() {
    let world = World::new().await;
    let spec = world.shell(World::server_when_told());
    let spec = ServiceSpec { check: Some("tcp".parse().unwrap()), ..spec };
    let mut service = Service::start(spec, world.parts()).await.unwrap();
    assert_eq!((service.endpoint(), world.registered()), (None, vec![]));
    world.write("go");
    let turn = service.wait().await;
    assert!(matches!(turn, Ok(Turn::Listens)), "{turn:?}");
    assert_eq!(exit_code(service.take(turn).await), None);
    let registered: Vec<_> = world.registered().iter().map(|endpoint| endpoint.port).collect();
    assert_eq!(registered, [world.port(0)]);
    service.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(world.registered(), []);
    // What the shell started keeps the lease until it is gone as well.
    until("the end of the lease", || world.holders().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_stranger_on_the_port_is_never_taken_for_the_service() {
    let world = World::new().await;
    let script = format!("echo $PORT >> ports; {LASTING}");
    let spec = ServiceSpec { check: Some("tcp".parse().unwrap()), ..world.shell(&script) };
    let mut service = Service::start(spec, world.parts()).await.unwrap();
    assert_eq!(world.line_in("ports").await, world.port(0).to_string());
    assert_eq!((service.endpoint(), world.registered()), (None, vec![]), "nothing listens yet");

    let strangers: Vec<_> =
        (0..3).map(|index| TcpListener::bind(("127.0.0.1", world.port(index))).unwrap()).collect();
    // The ports behind the first are taken too by now, but the last one is free.
    let turn = service.wait().await;
    assert!(matches!(turn, Ok(Turn::Stolen { .. })), "{turn:?}");
    assert_eq!(exit_code(service.take(turn).await), None);
    assert_eq!(service.port(), Some(world.port(3)));
    assert_eq!(world.registered(), []);
    drop(strangers);
    service.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_program_that_fails_by_itself_is_not_started_again() {
    let world = World::new().await;
    let mut service = Service::start(world.shell("exit 1"), world.parts()).await.unwrap();
    let ended = service.wait().await;
    assert_eq!(exit_code(service.take(ended).await), Some(1));
}

#[tokio::test]
async fn a_service_is_deregistered_before_its_program_is_asked_to_end() {
    let world = World::new().await;
    let script = "trap 'echo asked > asked' TERM; echo ready > ready; \
                  while ! test -e go; do sleep 0.02; done";
    let service = Service::start(world.shell(script), world.parts()).await.unwrap();
    world.line_in("ready").await;
    let stopping = tokio::spawn(service.stop(Duration::from_secs(60)));
    world.line_in("asked").await;
    assert_eq!(world.registered(), []);
    world.write("go");
    stopping.await.unwrap().unwrap();
    assert_eq!(world.holders(), []);
}

#[tokio::test]
async fn who_is_in_a_hurry_does_not_wait_for_the_grace() {
    let world = World::new().await;
    let script = "trap '' TERM; echo ready > ready; sleep 1000";
    let service = Service::start(world.shell(script), world.parts()).await.unwrap();
    world.line_in("ready").await;
    let hurry = service.hurry();
    let stopping = tokio::spawn(service.stop(Duration::from_secs(3600)));
    hurry.cancel();
    let status = tokio::time::timeout(crate::testing::SOON, stopping).await.unwrap();
    assert_eq!(crate::child::exit_code(status.unwrap().unwrap()), 137);
}

#[tokio::test]
async fn what_a_program_left_behind_is_ended_with_its_group() {
    let world = World::new().await;
    let script = "sleep 1000 & echo $! > left";
    let mut service = Service::start(world.shell(script), world.parts()).await.unwrap();
    let left = world.line_in("left").await;
    service.wait().await.unwrap();
    service.finish_group(Duration::from_secs(5)).await;
    until("the end of what was left behind", || {
        let stat = portolan_host_facts::ProcessStat::read(left.parse().unwrap());
        (!stat.is_some_and(|stat| stat.is_running())).then_some(())
    })
    .await;
}
