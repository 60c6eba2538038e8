use std::net::{Ipv4Addr, TcpListener as Taken};

use futures_util::StreamExt as _;
use portolan_broadcast::BroadcastConfig;
use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_client::{
    ListQuery, RegistryClient, RegistryClientConfig, RegistryClientError, WatchRequest,
};
use portolan_core::{Action, HealthStatus, Registration, ServiceEndpoint, Ttl};
use portolan_port_allocator::PortRequest;
use tokio::time::timeout;

use super::*;
use crate::REGISTRY_SERVICE;

/// Generous, so that only what hangs for ever fails.
const SOON: Duration = Duration::from_secs(20);
/// How many ports a world has.
const PORTS: u16 = 4;

/// Folders and ports of one test.
struct World {
    folder: tempfile::TempDir,
    ports: Taken,
}

// === impl World ===

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), ports: block_of_ports() }
    }

    fn port(&self, index: u16) -> u16 {
        self.ports.local_addr().unwrap().port() + 1 + index
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.service_registry.listen_address = (Ipv4Addr::LOCALHOST, self.port(0)).into();
        settings.port_allocator.runtime_dir = Some(self.folder.path().join("run"));
        settings.port_allocator.state_dir = Some(self.folder.path().join("state"));
        settings.health.interval = Duration::from_millis(20);
        settings
    }

    fn builder(&self) -> Builder {
        RegistryServer::builder(self.settings())
    }

    fn allocator(&self) -> PortAllocator {
        PortAllocator::new(self.settings().port_allocator).unwrap()
    }

    /// Who holds a port, as another process sees it.
    fn holders(&self) -> Vec<(String, u16)> {
        let holders = self.allocator().holders();
        holders.into_iter().map(|holder| (holder.service.to_string(), holder.port)).collect()
    }
}

/// Ports that nobody has, below the ephemeral range; kept by the listener just before them.
fn block_of_ports() -> Taken {
    let size = usize::from(PORTS) + 1;
    let free = |port| Taken::bind(("0.0.0.0", port)).is_ok();
    let take = |start: u16| {
        let owner = Taken::bind(("127.0.0.1", start)).ok()?;
        (start + 1..=start + PORTS).all(free).then_some(owner)
    };
    (8_900..9_900).step_by(size).find_map(take).expect("a block of free ports")
}

fn client(url: String) -> RegistryClient {
    RegistryClient::new(RegistryClientConfig::new(url)).unwrap()
}

fn service(port: u16) -> Registration {
    Registration::new("api".parse().unwrap(), Host::loopback(), port)
}

/// Waits until the registry has an endpoint like this.
async fn registered(
    registry: &Registry,
    is_it: impl Fn(&ServiceEndpoint) -> bool,
) -> ServiceEndpoint {
    let asking = async {
        loop {
            match registry.list().into_iter().find(|endpoint| is_it(endpoint)) {
                Some(endpoint) => return (*endpoint).clone(),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(SOON, asking).await.expect("the endpoint in time")
}

#[tokio::test]
async fn it_serves_at_its_url_under_its_name_and_is_gone_afterwards() {
    let world = World::new();
    let server = world.builder().start().await.unwrap();
    assert_eq!(server.url(), format!("http://127.0.0.1:{}", world.port(0)));
    assert_eq!(world.holders(), [(REGISTRY_SERVICE.to_owned(), world.port(0))]);

    let client = client(server.url());
    client.register(&service(8080)).await.unwrap();
    let listing = client.list(&ListQuery::default()).await.unwrap();
    assert_eq!(listing.services.len(), 1);

    server.stop().await;
    assert_eq!(world.holders(), []);
    let error = client.list(&ListQuery::default()).await.unwrap_err();
    assert!(matches!(error, RegistryClientError::Unreachable { .. }), "{error}");
    world.builder().start().await.unwrap().stop().await;
}

#[tokio::test]
async fn an_open_watch_does_not_hold_up_its_end() {
    let world = World::new();
    let server = world.builder().start().await.unwrap();
    let mut watch = client(server.url()).watch(&WatchRequest::default()).await.unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    timeout(STOP_WITHIN * 2, server.stop()).await.expect("an end in time");
}

#[tokio::test]
async fn dropped_it_leaves_no_part_behind() {
    let world = World::new();
    let server = world.builder().start().await.unwrap();
    let client = client(server.url());
    drop(server);
    let gone = async {
        while client.list(&ListQuery::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, gone).await.expect("its end in time");
}

#[tokio::test]
async fn a_port_that_somebody_holds_is_refused_with_the_holders_name() {
    let world = World::new();
    let allocator = world.allocator();
    let request = PortRequest::new("postgres-1".parse().unwrap()).preferred(world.port(0));
    let range = portolan_core::PortRange::new(world.port(0), world.port(0)).unwrap();
    let _lease = allocator.request(request.range(range)).unwrap();
    let error = world.builder().start().await.unwrap_err();
    assert!(matches!(error, ServerError::Port(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("postgres-1") && error.contains(&world.port(0).to_string()), "{error}");
}

#[tokio::test]
async fn a_strangers_port_is_refused_or_gone_around() {
    let world = World::new();
    let _stranger = Taken::bind((Ipv4Addr::LOCALHOST, world.port(0))).unwrap();
    assert!(matches!(world.builder().start().await, Err(ServerError::Port(_))));
    let server = world.builder().on_any_port(true).start().await.unwrap();
    assert_eq!(server.url(), format!("http://127.0.0.1:{}", world.port(1)));
    server.stop().await;
}

#[tokio::test]
async fn a_registry_of_ones_own_listens_on_loopback_unless_told_otherwise() {
    let world = World::new();
    let mut settings = world.settings();
    settings.service_registry.listen_address =
        portolan_registry::RegistryConfig::default().listen_address;
    let server = RegistryServer::builder(settings).on_any_port(true).start().await.unwrap();
    assert!(server.address.ip().is_loopback(), "{}", server.address);
    server.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_refused_before_anything_is_taken() {
    let world = World::new();
    let mut settings = world.settings();
    settings.service_registry.enabled = false;
    let error = RegistryServer::builder(settings).start().await.unwrap_err();
    assert!(matches!(error, ServerError::Disabled));
    let mut settings = world.settings();
    settings.service_registry.listen_address.set_port(0);
    let error = RegistryServer::builder(settings).start().await.unwrap_err();
    assert!(matches!(error, ServerError::PortZero));
    let mut settings = world.settings();
    settings.service_registry.max_endpoints = 0;
    let error = RegistryServer::builder(settings).start().await.unwrap_err();
    assert!(matches!(error, ServerError::Config(_)));
    assert_eq!(world.holders(), []);
}

#[tokio::test]
async fn what_is_announced_on_the_channel_is_imported() {
    let world = World::new();
    let network = MemoryNetwork::new(1);
    let join = |last| {
        let host = network.host(Ipv4Addr::new(10, 0, 0, last));
        Broadcaster::over(host, &BroadcastConfig::default(), Metrics::new()).unwrap()
    };
    let (own, other) = (join(1), join(2));
    let server = world.builder().broadcaster(Some(own)).start().await.unwrap();
    let host = "10.0.0.2".parse().unwrap();
    let announced =
        Registration { host, ..service(8080) }.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::now());
    other.announce(Action::Register, &announced).await.unwrap();
    let found = registered(server.registry(), |endpoint| endpoint.id == announced.id).await;
    assert_eq!(found.address(), "10.0.0.2:8080");
    server.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_says_how_is_checked_and_followed() {
    let world = World::new();
    let server = world.builder().start().await.unwrap();
    let listener = Taken::bind((Ipv4Addr::LOCALHOST, world.port(1))).unwrap();
    let health_url = Some(format!("tcp://127.0.0.1:{}", world.port(1)));
    let client = client(server.url());
    let checked = Registration { health_url, ..service(world.port(1)) };
    client.register(&checked).await.unwrap();
    client.register(&service(world.port(2))).await.unwrap();

    let of_health = |health| move |endpoint: &ServiceEndpoint| endpoint.health == health;
    let well = registered(server.registry(), of_health(HealthStatus::Passing)).await;
    assert_eq!(well.port, world.port(1));
    drop(listener);
    let unwell = registered(server.registry(), of_health(HealthStatus::Critical)).await;
    assert_eq!(unwell.port, world.port(1));
    // Who says nothing of it is not asked, and so nothing is known of its health.
    let other = registered(server.registry(), |endpoint| endpoint.port == world.port(2)).await;
    assert_eq!(other.health, HealthStatus::Unknown);
    server.stop().await;
}
