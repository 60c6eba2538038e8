//! Two processes on one machine, over loopback multicast.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use portolan_broadcast::{BroadcastConfig, Broadcaster, QueryMode};
use portolan_core::{Host, Registration, ServiceEndpoint, ServiceName, Ttl};

/// Set for the process that holds the service: the port of the channel.
const CHANNEL: &str = "PORTOLAN_TEST_CHANNEL";
const TEST: &str = "publisher_in_another_process_responds_until_it_ends";

/// The holder; it dies with the test, however that ends.
struct Holder(Child);

impl Holder {
    fn start(port: u16) -> Self {
        let this_test = std::env::current_exe().expect("a running program has a path");
        let child = Command::new(this_test)
            .args(["--exact", TEST])
            .env(CHANNEL, port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("a program that runs can be run again"))
    }

    fn kill(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("a child can be killed");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn join(port: u16) -> Broadcaster {
    let config = BroadcastConfig {
        multicast_address: SocketAddr::from(([239, 255, 0, 1], port)),
        interface: "127.0.0.1".into(),
        ..BroadcastConfig::default()
    };
    Broadcaster::new(config, Default::default()).await.expect("loopback is there")
}

fn name() -> ServiceName {
    "api".parse().expect("a good name")
}

/// The life of the other process: it holds the service until the test lets go of its input.
async fn publish(port: u16) {
    let broadcaster = join(port).await;
    let registration = Registration::new(name(), Host::loopback(), 8080);
    let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::now());
    broadcaster.publish(endpoint).expect("there is room for one");
    let end_of_input = || std::io::read_to_string(std::io::stdin());
    let _ended = tokio::task::spawn_blocking(end_of_input).await;
}

async fn query_name(port: u16, wait: Duration) -> Vec<ServiceEndpoint> {
    let asked = join(port).await.query(Some(&name()), &[], wait, QueryMode::First).await;
    asked.expect("loopback takes a query")
}

#[tokio::test]
async fn publisher_in_another_process_responds_until_it_ends() {
    if let Ok(port) = std::env::var(CHANNEL) {
        return publish(port.parse().unwrap()).await;
    }
    // Held here, the port belongs to this test on every machine-wide address but the group's.
    let lease = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = lease.local_addr().unwrap().port();
    let mut holder = Holder::start(port);
    // It is asked again and again until the other process has started.
    let found = query_name(port, Duration::from_secs(60)).await;
    assert_eq!(found[0].address(), "127.0.0.1:8080");
    holder.kill();
    assert!(query_name(port, Duration::from_millis(300)).await.is_empty());
}
