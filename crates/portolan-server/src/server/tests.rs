use std::net::{Ipv4Addr, TcpListener};

use futures_util::{FutureExt as _, StreamExt as _};
use portolan_broadcast::BroadcastConfig;
use portolan_broadcast::transport::memory::MemoryNetwork;
use portolan_client::{
    ListQuery, RegistryClient, RegistryClientConfig, RegistryClientError, WatchRequest,
};
use portolan_core::{
    Action, HealthReport, HealthStatus, Incarnation, Registration, ServiceEndpoint, Source, Ttl,
};
use portolan_port_allocator::PortRequest;
use tokio::time::timeout;

use super::*;
use crate::REGISTRY_SERVICE;

/// Generous, so that only an operation that hangs fails.
const SOON: Duration = Duration::from_secs(20);
/// The number of ports of an environment.
const PORTS: u16 = 4;

/// Directories and ports of one test.
struct Env {
    folder: tempfile::TempDir,
    ports: TcpListener,
}

// === impl Env ===

impl Env {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), ports: free_ports() }
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

    fn builder(&self) -> RegistryServerBuilder {
        RegistryServer::builder(self.settings())
    }

    fn allocator(&self) -> PortAllocator {
        PortAllocator::new(self.settings().port_allocator).unwrap()
    }

    /// The holders of ports, as another process sees them.
    fn holders(&self) -> Vec<(String, u16)> {
        let holders = self.allocator().holders();
        holders.into_iter().map(|holder| (holder.service.to_string(), holder.port)).collect()
    }
}

/// Free ports below the ephemeral range. The returned listener occupies the port before them, so that
/// no other test takes the same block.
fn free_ports() -> TcpListener {
    let size = usize::from(PORTS) + 1;
    let free = |port| TcpListener::bind(("0.0.0.0", port)).is_ok();
    let take = |start: u16| {
        let owner = TcpListener::bind(("127.0.0.1", start)).ok()?;
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

/// Waits until the registry has an endpoint that matches.
async fn registered(
    registry: &Registry,
    matches: impl Fn(&ServiceEndpoint) -> bool,
) -> ServiceEndpoint {
    let polling = async {
        loop {
            match registry.list().into_iter().find(|endpoint| matches(endpoint)) {
                Some(endpoint) => return (*endpoint).clone(),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(SOON, polling).await.expect("the endpoint in time")
}

#[tokio::test]
async fn server_listens_at_its_url_and_releases_its_port_on_stop() {
    let env = Env::new();
    let server = env.builder().start().await.unwrap();
    assert_eq!(server.url(), format!("http://127.0.0.1:{}", env.port(0)));
    assert_eq!(env.holders(), [(REGISTRY_SERVICE.to_owned(), env.port(0))]);

    let client = client(server.url());
    client.register(&service(8080)).await.unwrap();
    let listing = client.list(&ListQuery::default()).await.unwrap();
    assert_eq!(listing.services.len(), 1);

    server.stop().await;
    assert_eq!(env.holders(), []);
    let error = client.list(&ListQuery::default()).await.unwrap_err();
    assert!(matches!(error, RegistryClientError::Unreachable { .. }), "{error}");
    env.builder().start().await.unwrap().stop().await;
}

#[tokio::test]
async fn open_watch_does_not_delay_shutdown() {
    let env = Env::new();
    let server = env.builder().start().await.unwrap();
    let mut watch = client(server.url()).watch(&WatchRequest::default()).await.unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    timeout(STOP_WITHIN * 2, server.stop()).await.expect("stop in time");
}

#[tokio::test]
async fn dropping_the_server_aborts_its_tasks() {
    let env = Env::new();
    let server = env.builder().start().await.unwrap();
    let client = client(server.url());
    drop(server);
    let gone = async {
        while client.list(&ListQuery::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, gone).await.expect("end in time");
}

#[tokio::test]
async fn leased_port_is_refused_with_the_name_of_its_holder() {
    let env = Env::new();
    let allocator = env.allocator();
    let request = PortRequest::new("postgres-1".parse().unwrap()).preferred(env.port(0));
    let range = portolan_core::PortRange::new(env.port(0), env.port(0)).unwrap();
    let _lease = allocator.request(request.range(range)).unwrap();
    let error = env.builder().start().await.unwrap_err();
    assert!(matches!(error, ServerError::Port(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("postgres-1") && error.contains(&env.port(0).to_string()), "{error}");
}

#[tokio::test]
async fn port_of_a_foreign_process_is_refused_or_skipped() {
    let env = Env::new();
    let _foreign = TcpListener::bind((Ipv4Addr::LOCALHOST, env.port(0))).unwrap();
    assert!(matches!(env.builder().start().await, Err(ServerError::Port(_))));
    let server = env.builder().on_any_port(true).start().await.unwrap();
    assert_eq!(server.url(), format!("http://127.0.0.1:{}", env.port(1)));
    server.stop().await;
}

#[tokio::test]
async fn server_binds_loopback_unless_an_address_is_configured() {
    let env = Env::new();
    let mut settings = env.settings();
    settings.service_registry.listen_address =
        portolan_registry::RegistryConfig::default().listen_address;
    let server = RegistryServer::builder(settings).on_any_port(true).start().await.unwrap();
    assert!(server.address.ip().is_loopback(), "{}", server.address);
    server.stop().await;
}

#[tokio::test]
async fn invalid_settings_are_refused_before_the_port_is_leased() {
    let env = Env::new();
    let mut settings = env.settings();
    settings.service_registry.enabled = false;
    let error = RegistryServer::builder(settings).start().await.unwrap_err();
    assert!(matches!(error, ServerError::Disabled));
    let mut settings = env.settings();
    settings.service_registry.listen_address.set_port(0);
    let error = RegistryServer::builder(settings).start().await.unwrap_err();
    assert!(matches!(error, ServerError::PortZero));
    let mut settings = env.settings();
    settings.service_registry.max_endpoints = 0;
    let error = RegistryServer::builder(settings).start().await.unwrap_err();
    assert!(matches!(error, ServerError::Config(_)));
    assert_eq!(env.holders(), []);
}

/// Joins the channel of the network as the host 10.0.0.`last`.
fn join(network: &MemoryNetwork, last: u8) -> Broadcaster {
    let host = network.host(Ipv4Addr::new(10, 0, 0, last));
    Broadcaster::with_transport(host, &BroadcastConfig::default(), Metrics::new()).unwrap()
}

#[tokio::test]
async fn announcements_are_imported() {
    let env = Env::new();
    let network = MemoryNetwork::new(1);
    let (own, other) = (join(&network, 1), join(&network, 2));
    let server = env.builder().broadcaster(Some(own)).start().await.unwrap();
    let host = "10.0.0.2".parse().unwrap();
    let announced =
        Registration { host, ..service(8080) }.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::now());
    other.announce(Action::Register, &announced).await.unwrap();
    let found = registered(server.registry(), |endpoint| endpoint.id == announced.id).await;
    assert_eq!((found.address(), found.source), ("10.0.0.2:8080".to_owned(), Source::Broadcast));
    server.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn registry_with_a_token_does_not_listen_to_unsigned_announcements() {
    let env = Env::new();
    let network = MemoryNetwork::new(1);
    for (key, import_unsigned, imports) in
        [(None, false, false), (None, true, true), (Some("a key of the channel"), false, true)]
    {
        let mut settings = env.settings();
        settings.token = Some("token".into());
        settings.broadcast.key = key.map(Into::into);
        settings.service_registry.import_unsigned = import_unsigned;
        let host = network.host(Ipv4Addr::new(10, 0, 0, 1));
        let channel = Broadcaster::with_transport(host, &settings.broadcast, Metrics::new());
        let channel = channel.unwrap();
        let mut heard = channel.listen();
        let builder = RegistryServer::builder(settings).broadcaster(Some(channel));
        let server = builder.start().await.unwrap();
        // The channel is left with its last handle, which ends the stream.
        let is_open = heard.next().now_or_never().is_none();
        assert_eq!(is_open, imports, "{key:?} {import_unsigned}");
        server.stop().await;
    }
}

#[tokio::test]
async fn forged_health_does_not_count_and_the_registry_sends_nothing() {
    let env = Env::new();
    let network = MemoryNetwork::new(1);
    let (own, other) = (join(&network, 1), join(&network, 2));
    let server = env.builder().broadcaster(Some(own)).start().await.unwrap();
    // An address for documentation (RFC 5737), where nothing listens.
    let host: Host = "192.0.2.1".parse().unwrap();
    let (key, value) = portolan_core::endpoint::CHECKED_BY_AGENT;
    let mut forged = Registration { host, ..service(8080) };
    forged.metadata.insert(key.to_owned(), value.to_owned());
    forged.health_url = Some("tcp://192.0.2.1:8080".to_owned());
    let mut forged = forged.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::now());
    forged.health = HealthStatus::Passing;
    other.announce(Action::Register, &forged).await.unwrap();
    let found = registered(server.registry(), |endpoint| endpoint.id == forged.id).await;
    assert_ne!(found.health, HealthStatus::Passing);
    server.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn endpoint_with_a_health_url_is_checked_repeatedly() {
    let env = Env::new();
    let server = env.builder().start().await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, env.port(1))).unwrap();
    let health_url = Some(format!("tcp://127.0.0.1:{}", env.port(1)));
    let client = client(server.url());
    let checked = Registration { health_url, ..service(env.port(1)) };
    client.register(&checked).await.unwrap();
    client.register(&service(env.port(2))).await.unwrap();

    let of_health = |health| move |endpoint: &ServiceEndpoint| endpoint.health == health;
    let well = registered(server.registry(), of_health(HealthStatus::Passing)).await;
    assert_eq!(well.port, env.port(1));
    drop(listener);
    let unwell = registered(server.registry(), of_health(HealthStatus::Critical)).await;
    assert_eq!(unwell.port, env.port(1));
    // An endpoint without a health URL is not checked.
    let other = registered(server.registry(), |endpoint| endpoint.port == env.port(2)).await;
    assert_eq!(other.health, HealthStatus::Unknown);
    server.stop().await;
}

#[tokio::test]
async fn paused_owner_that_wakes_up_changes_nothing() {
    let env = Env::new();
    let server = env.builder().start().await.unwrap();
    let owner = |number: u64| {
        let incarnation = Incarnation::new(number);
        let own = client(server.url()).with_incarnation(incarnation);
        (own, Registration { incarnation: Some(incarnation), ..service(8080) })
    };
    let named = |name: &str, registration: &Registration| Registration {
        name: name.parse().unwrap(),
        ..registration.clone()
    };
    let ((paused, first), (restarted, second), (other, third)) = (owner(1), owner(2), owner(3));
    paused.register(&first).await.unwrap();
    // The service was started again, and later another one uses its address.
    let id = restarted.register(&second).await.unwrap().endpoint.id;
    let successor = named("web", &third);
    for stage in ["restarted", "reused"] {
        if stage == "reused" {
            other.register(&successor).await.unwrap();
        }
        let before = client(server.url()).list(&ListQuery::default()).await.unwrap().services;
        let late = [
            paused.heartbeat(&id).await,
            paused.update_health(&id, &HealthReport::default()).await,
            paused.register(&first).await.map(drop),
            paused.deregister(&id).await,
        ];
        for answer in late {
            let conflict = matches!(answer, Err(RegistryClientError::Conflict { .. }));
            assert!(conflict, "{stage}: {answer:?}");
        }
        let after = client(server.url()).list(&ListQuery::default()).await.unwrap().services;
        assert_eq!((after.len(), after), (1, before), "{stage}");
    }
    let left = client(server.url()).list(&ListQuery::default()).await.unwrap().services;
    assert_eq!(left[0].name, successor.name, "no name answers with the address of another");
    other.heartbeat(&left[0].id).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn forged_announcements_are_counted_and_not_imported() {
    const FORGED: u16 = 300;
    let env = Env::new();
    let network = MemoryNetwork::new(1);
    let mut settings = env.settings();
    settings.token = Some("token".into());
    settings.broadcast.key = Some("a key of the channel".into());
    let join = |last, config: &BroadcastConfig, metrics: &Metrics| {
        let host = network.host(Ipv4Addr::new(10, 0, 0, last));
        Broadcaster::with_transport(host, config, metrics.clone()).unwrap()
    };
    let metrics = Metrics::new();
    let own = join(1, &settings.broadcast, &metrics);
    let signing = join(2, &settings.broadcast, &Metrics::new());
    let forging = join(3, &BroadcastConfig::default(), &Metrics::new());
    let server = RegistryServer::builder(settings).broadcaster(Some(own)).start().await.unwrap();
    let announced = |last: u8, port| {
        let host = Host::try_from(IpAddr::from([10, 0, 0, last])).unwrap();
        let service = Registration { host, ..service(port) };
        service.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::now())
    };
    for port in 1..=FORGED {
        forging.announce(Action::Register, &announced(3, port)).await.unwrap();
    }
    let signed = announced(2, 8080);
    signing.announce(Action::Register, &signed).await.unwrap();
    registered(server.registry(), |endpoint| endpoint.id == signed.id).await;
    assert_eq!(server.registry().list().len(), 1);
    let text = metrics.encode();
    let counted = format!(r#"discovery_broadcast_errors_total{{type="receive"}} {FORGED}"#);
    assert!(text.contains(&counted), "{text}");
    server.stop().await;
    signing.stop().await;
    forging.stop().await;
}

#[test]
fn limits_of_clients_have_the_same_defaults_as_their_settings() {
    assert_eq!(client_limits(&ClientsConfig::default()), ClientLimits::default());
}
