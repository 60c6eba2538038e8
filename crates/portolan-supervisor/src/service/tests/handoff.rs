//! Several ports, and sockets in place of numbers.

use std::net::{TcpListener, TcpStream};

use crate::Handoff;
use crate::service::*;
use crate::testing::{POOL, World};

/// Accepts what comes by the first inherited socket once the file `go` is there.
const ACCEPTS_WHEN_TOLD: &str = "while ! test -e go; do sleep 0.02; done; \
     exec perl -e 'open(my $s, \"+<&=3\") or die; while (accept(my $c, $s)) {}'";

/// The service of this script, with two ports more.
fn with_three_ports(world: &World, script: &str) -> ServiceSpec {
    let spec = world.shell(script);
    let named = ["metrics", "admin-1"].map(|name| format!("{name}@{POOL}").parse().unwrap()).into();
    let port = spec.port.clone().map(|port| PortSpec { named, ..port });
    ServiceSpec { port, ..spec }
}

#[tokio::test]
async fn further_ports_are_told_the_program_and_everybody_else() {
    let world = World::new().await;
    let script = "echo $PORT $PORT_METRICS $PORT_ADMIN_1 {port:metrics} $WHERE > told; sleep 1000";
    let mut spec = with_three_ports(&world, script);
    spec.environment.insert("WHERE".to_owned(), "at {port:admin-1}".to_owned());
    let service = Service::start(spec, world.parts()).await.unwrap();
    let [main, metrics, admin] = [0, 1, 2].map(|index| world.port(index));
    let expected = format!("{main} {metrics} {admin} {metrics} at {admin}");
    assert_eq!(world.line_in("told").await, expected);
    let registered = &world.registered()[0];
    assert_eq!(registered.port, main);
    assert_eq!(registered.metadata["port.metrics"], metrics.to_string());
    assert_eq!(registered.metadata["port.admin-1"], admin.to_string());
    service.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(world.holders(), []);
}

#[tokio::test]
async fn all_ports_are_granted_or_none() {
    let world = World::new().await;
    let strangers = [1, 2].map(|index| TcpListener::bind(("0.0.0.0", world.port(index))).unwrap());
    let spec = with_three_ports(&world, "echo > started");
    let error = Service::start(spec, world.parts()).await.unwrap_err();
    assert!(matches!(error, StartError::Port(_)), "{error}");
    assert!(!world.path("started").exists());
    assert_eq!(world.holders(), []);
    drop(strangers);
}

#[tokio::test]
async fn a_stranger_on_a_further_port_is_noticed_too() {
    let world = World::new().await;
    let spec = with_three_ports(&world, "echo $PORT_METRICS >> ports; exec sleep 1000");
    let spec = ServiceSpec { check: Some("tcp".parse().unwrap()), ..spec };
    let mut service = Service::start(spec, world.parts()).await.unwrap();
    assert_eq!(world.line_in("ports").await, world.port(1).to_string());
    let _stranger = TcpListener::bind(("127.0.0.1", world.port(1))).unwrap();
    let turn = service.wait().await;
    let stolen = world.port(1);
    assert!(matches!(turn, Ok(Turn::Stolen { port, .. }) if port == stolen), "{turn:?}");
    service.take(turn).await.unwrap();
    assert_eq!(service.named_ports()[0].1, world.port(2));
    service.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn with_an_inherited_socket_a_service_is_found_once_its_program_accepts() {
    let world = World::new().await;
    let spec = world.shell(ACCEPTS_WHEN_TOLD);
    let check = Some("tcp".parse().unwrap());
    let spec = ServiceSpec { check, handoff: Handoff::Socket, ..spec };
    let mut service = Service::start(spec, world.parts()).await.unwrap();
    let connect = || TcpStream::connect(("127.0.0.1", world.port(0)));
    assert!(connect().is_ok(), "the socket listens before the program does anything with it");
    assert_eq!((service.endpoint(), world.registered()), (None, vec![]));
    world.write("go");
    let turn = service.wait().await;
    assert!(matches!(turn, Ok(Turn::Listens)), "{turn:?}");
    service.take(turn).await.unwrap();
    assert_eq!(world.registered().len(), 1);
    service.stop(Duration::from_secs(5)).await.unwrap();
    assert!(connect().is_err(), "nobody is there any more, and yet the kernel takes connections");
}
