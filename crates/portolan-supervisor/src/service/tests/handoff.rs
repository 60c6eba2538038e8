//! Several ports, and sockets in place of numbers.

use std::net::{TcpListener, TcpStream};

use crate::Handoff;
use crate::service::*;
use crate::test_env::{POOL, TestEnv};

/// Accepts what comes by the first inherited socket once the file `go` is there.
const ACCEPTS_WHEN_TOLD: &str = "while ! test -e go; do sleep 0.02; done; \
     exec perl -e 'open(my $s, \"+<&=3\") or die; while (accept(my $c, $s)) {}'";

/// The service of this script, with two ports more.
fn with_three_ports(env: &TestEnv, script: &str) -> ServiceSpec {
    let spec = env.shell(script);
    let named = ["metrics", "admin-1"].map(|name| format!("{name}@{POOL}").parse().unwrap()).into();
    let port = spec.port.clone().map(|port| PortSpec { named, ..port });
    ServiceSpec { port, ..spec }
}

#[tokio::test]
async fn named_ports_are_in_the_environment_and_the_metadata() {
    let env = TestEnv::new().await;
    let script = "echo $PORT $PORT_METRICS $PORT_ADMIN_1 {port:metrics} $WHERE > told; sleep 1000";
    let mut spec = with_three_ports(&env, script);
    spec.environment.insert("WHERE".to_owned(), "at {port:admin-1}".to_owned());
    let service = Service::start(spec, env.deps()).await.unwrap();
    let [main, metrics, admin] = [0, 1, 2].map(|index| env.port(index));
    let expected = format!("{main} {metrics} {admin} {metrics} at {admin}");
    assert_eq!(env.line_in("told").await, expected);
    let registered = &env.registered()[0];
    assert_eq!(registered.port, main);
    assert_eq!(registered.metadata.get("port.metrics"), Some(&*metrics.to_string()));
    assert_eq!(registered.metadata.get("port.admin-1"), Some(&*admin.to_string()));
    service.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(env.holders(), []);
}

#[tokio::test]
async fn either_all_ports_are_leased_or_none() {
    let env = TestEnv::new().await;
    let foreign = [1, 2].map(|index| TcpListener::bind(("0.0.0.0", env.port(index))).unwrap());
    let spec = with_three_ports(&env, "echo > started");
    let error = Service::start(spec, env.deps()).await.unwrap_err();
    assert!(matches!(error, StartError::Port(_)), "{error}");
    assert!(!env.path("started").exists());
    assert_eq!(env.holders(), []);
    drop(foreign);
}

#[tokio::test]
async fn foreign_listener_on_a_named_port_is_detected() {
    let env = TestEnv::new().await;
    let spec = with_three_ports(&env, "echo $PORT_METRICS >> ports; exec sleep 1000");
    let spec = ServiceSpec { check: Some("tcp".parse().unwrap()), ..spec };
    let mut service = Service::start(spec, env.deps()).await.unwrap();
    assert_eq!(env.line_in("ports").await, env.port(1).to_string());
    let _foreign = TcpListener::bind(("127.0.0.1", env.port(1))).unwrap();
    let event = service.wait().await;
    let stolen = env.port(1);
    assert!(
        matches!(event, Ok(ProgramEvent::PortTaken { port, .. }) if port == stolen),
        "{event:?}"
    );
    service.handle(event).await.unwrap();
    assert_eq!(service.named_ports()[0].1, env.port(2));
    service.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn service_with_an_inherited_socket_is_registered_at_its_first_accept() {
    let env = TestEnv::new().await;
    let spec = env.shell(ACCEPTS_WHEN_TOLD);
    let check = Some("tcp".parse().unwrap());
    let spec = ServiceSpec { check, handoff: Handoff::Socket, ..spec };
    let mut service = Service::start(spec, env.deps()).await.unwrap();
    let connect = || TcpStream::connect(("127.0.0.1", env.port(0)));
    assert!(connect().is_ok(), "the socket listens before the program does anything with it");
    assert_eq!((service.endpoint(), env.registered()), (None, vec![]));
    env.write("go");
    let event = service.wait().await;
    assert!(matches!(event, Ok(ProgramEvent::Listening)), "{event:?}");
    service.handle(event).await.unwrap();
    assert_eq!(env.registered().len(), 1);
    service.stop(Duration::from_secs(5)).await.unwrap();
    assert!(connect().is_err(), "no process listens any more, but the kernel accepts connections");
}
