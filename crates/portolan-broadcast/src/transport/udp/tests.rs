//! Real sockets, on loopback only, each test on a port of its own.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use portolan_core::{Action, Host, Registration, ServiceEndpoint, ServiceName, Ttl};
use portolan_metrics::Metrics;

use super::*;
use crate::{Broadcaster, QueryMode};

const WAIT: Duration = Duration::from_secs(5);

/// A channel on a port of this test alone. `_lease` reserves the port and does not conflict with the group
/// address.
struct PrivateChannel {
    config: BroadcastConfig,
    _lease: std::net::UdpSocket,
}

fn private_channel() -> PrivateChannel {
    let lease = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = lease.local_addr().unwrap().port();
    let config = BroadcastConfig {
        multicast_address: SocketAddr::from(([239, 255, 0, 1], port)),
        interface: "127.0.0.1".into(),
        ..BroadcastConfig::default()
    };
    PrivateChannel { config, _lease: lease }
}

async fn join(config: &BroadcastConfig) -> Broadcaster {
    Broadcaster::new(config.clone(), Metrics::new()).await.unwrap()
}

fn endpoint(port: u16) -> ServiceEndpoint {
    let registration = Registration::new(name(), Host::loopback(), port);
    registration.into_endpoint(Ttl::DEFAULT, Timestamp::now())
}

fn name() -> ServiceName {
    "api".parse().unwrap()
}

/// Receives the next announcement; a test that hears nothing fails.
async fn next(
    listener: &mut crate::AnnouncementListener,
) -> std::sync::Arc<crate::ReceivedAnnouncement> {
    tokio::time::timeout(WAIT, listener.next()).await.expect("an announcement").unwrap()
}

async fn query_name(querier: &Broadcaster, mode: QueryMode) -> Vec<ServiceEndpoint> {
    querier.query(Some(&name()), &[], WAIT, mode).await.unwrap()
}

#[tokio::test]
async fn every_listener_of_a_host_receives_every_announcement() {
    let channel = private_channel();
    let speaker = join(&channel.config).await;
    let others = [join(&channel.config).await, join(&channel.config).await];
    let mut listeners = [speaker.listen(), others[0].listen(), others[1].listen()];
    for action in [Action::Register, Action::Heartbeat, Action::Deregister] {
        speaker.announce(action, &endpoint(8080)).await.unwrap();
    }
    for listener in &mut listeners {
        for action in [Action::Register, Action::Heartbeat, Action::Deregister] {
            let received = next(listener).await;
            assert_eq!(received.announcement.action, action);
            assert!(received.source.ip().is_loopback());
        }
    }
}

#[tokio::test]
async fn every_publisher_of_a_host_responds() {
    let channel = private_channel();
    let (one, other) = (join(&channel.config).await, join(&channel.config).await);
    let querier = join(&channel.config).await;
    one.publish(endpoint(1)).unwrap();
    other.publish(endpoint(2)).unwrap();
    let mut ports: Vec<_> =
        query_name(&querier, QueryMode::All).await.iter().map(|e| e.port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2]);
    assert!(!query_name(&querier, QueryMode::First).await.is_empty());
}

#[tokio::test]
async fn query_needs_no_socket_on_the_port_of_the_channel() {
    let channel = private_channel();
    let holder = join(&channel.config).await;
    holder.publish(endpoint(1)).unwrap();
    // Nothing listens at the group's address of this socket but the transport's own socket.
    let transport = UdpTransport::new(&channel.config).unwrap();
    let deaf = Deaf(transport);
    let querier =
        Broadcaster::with_transport(std::sync::Arc::new(deaf), &channel.config, Metrics::new())
            .unwrap();
    assert!(!querier.is_listening());
    assert_eq!(query_name(&querier, QueryMode::First).await[0].port, 1);
}

/// A transport whose channel cannot be opened, as where the port is taken.
#[derive(Debug)]
struct Deaf(UdpTransport);

impl Transport for Deaf {
    fn destinations(&self) -> Vec<Destination> {
        self.0.destinations()
    }
    fn addresses(&self, destination: Destination) -> Vec<IpAddr> {
        self.0.addresses(destination)
    }
    fn open_channel(&self) -> io::Result<Box<dyn Receiver>> {
        Err(io::ErrorKind::AddrInUse.into())
    }
    fn open_socket(&self) -> io::Result<Box<dyn BroadcastSocket>> {
        self.0.open_socket()
    }
    fn is_local_address(&self, address: IpAddr) -> bool {
        self.0.is_local_address(address)
    }
    fn is_attached(&self, address: IpAddr) -> bool {
        self.0.is_attached(address)
    }
}

#[tokio::test]
async fn announcements_and_queries_work_if_the_port_is_not_shared() {
    let channel = private_channel();
    let SocketAddr::V4(group) = channel.config.multicast_address else { panic!("not IPv4") };
    let _taken = std::net::UdpSocket::bind(group).unwrap();
    let broadcaster = join(&channel.config).await;
    assert!(!broadcaster.is_listening());
    broadcaster.announce(Action::Register, &endpoint(1)).await.unwrap();
}

#[tokio::test]
async fn invalid_datagrams_are_dropped() {
    let channel = private_channel();
    let holder = join(&channel.config).await;
    let mut listener = holder.listen();
    holder.publish(endpoint(1)).unwrap();
    let socket = UdpTransport::new(&channel.config).unwrap().open_socket().unwrap();
    for payload in [vec![0xff; 100], Vec::new(), b"{".repeat(900), vec![b'x'; 20_000]] {
        socket.multicast(&payload, Destination::Loopback).await.unwrap();
    }
    holder.announce(Action::Update, &endpoint(1)).await.unwrap();
    assert_eq!(next(&mut listener).await.announcement.action, Action::Update);
    assert_eq!(query_name(&holder, QueryMode::First).await.len(), 1);
}

#[tokio::test]
async fn peers_replace_multicast() {
    let (here, there) = (private_channel(), private_channel());
    let peer = |of: &PrivateChannel| {
        SocketAddr::from(([127, 0, 0, 1], of.config.multicast_address.port()))
    };
    let (to_here, to_there) = (peer(&here), peer(&there));
    // A socket on every address would meet the lease.
    let PrivateChannel { config: here, _lease } = here;
    drop(_lease);
    let PrivateChannel { config: there, _lease } = there;
    drop(_lease);
    let here = join(&BroadcastConfig { peers: vec![to_there], ..here }).await;
    let there = join(&BroadcastConfig { peers: vec![to_here], ..there }).await;
    assert!(here.is_listening() && there.is_listening());
    here.publish(endpoint(1)).unwrap();
    assert_eq!(query_name(&there, QueryMode::First).await[0].port, 1);
}

#[test]
fn interface_is_an_address_or_a_name_of_this_host() {
    let on = |interface: &str| {
        let config = BroadcastConfig { interface: interface.into(), ..BroadcastConfig::default() };
        UdpTransport::new(&config)
    };
    for loopback in ["127.0.0.1", "::1"] {
        assert_eq!(on(loopback).unwrap().destinations(), [Destination::Loopback]);
    }
    let networks = interfaces().into_iter().filter(|it| it.is_multicast && it.ipv4().is_some());
    let networks = networks.filter(|it| !it.is_loopback());
    let networks = networks.map(|interface| Destination::Interface(interface.index));
    let all: Vec<_> = std::iter::once(Destination::Loopback).chain(networks).collect();
    assert_eq!(on("0.0.0.0").unwrap().destinations(), all);
    for unknown in ["no-such-interface", "192.0.2.1", ""] {
        let error = on(unknown).unwrap_err().to_string();
        assert!(error.contains("broadcast.interface"), "{error}");
    }
    let loopback = if_addrs::get_if_addrs().unwrap();
    let loopback = loopback.iter().find(|i| i.ip() == IpAddr::from(Ipv4Addr::LOCALHOST)).unwrap();
    assert_eq!(on(&loopback.name).unwrap().destinations(), [Destination::Loopback]);
    assert!(on("127.0.0.1").unwrap().is_local_address(Ipv4Addr::LOCALHOST.into()));
}

#[test]
fn own_socket_is_bound_to_loopback_if_only_loopback_is_used() {
    let PrivateChannel { config, .. } = private_channel();
    let own = |config: &BroadcastConfig| UdpTransport::new(config).unwrap().own_address().ip();
    assert_eq!(own(&config), Ipv4Addr::LOCALHOST);
    let peers = vec!["192.0.2.1:7001".parse().unwrap()];
    assert_eq!(own(&BroadcastConfig { peers, ..config }), Ipv4Addr::UNSPECIFIED);
}

/// A channel on loopback with a link-local IPv6 group.
fn private_ipv6_channel() -> PrivateChannel {
    let PrivateChannel { config, _lease } = private_channel();
    let address = SocketAddr::from((
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x504f),
        config.multicast_address.port(),
    ));
    let channels = vec![crate::ChannelConfig { address, interfaces: Vec::new(), keys: Vec::new() }];
    PrivateChannel { config: BroadcastConfig { channels, ..config }, _lease }
}

#[tokio::test]
async fn processes_of_a_host_find_each_other_on_an_ipv6_channel() {
    let channel = private_ipv6_channel();
    let (holder, querier) = (join(&channel.config).await, join(&channel.config).await);
    let mut listener = querier.listen();
    holder.announce(Action::Register, &endpoint(1)).await.unwrap();
    let received = next(&mut listener).await;
    assert_eq!(received.announcement.service.port, 1);
    holder.publish(endpoint(2)).unwrap();
    assert_eq!(query_name(&querier, QueryMode::First).await[0].port, 2);
}

#[tokio::test]
async fn service_is_announced_and_found_on_every_channel() {
    let (one, mut both) = (private_channel(), private_ipv6_channel());
    let other = both.config.clone();
    let first = crate::ChannelConfig {
        address: one.config.multicast_address,
        interfaces: vec!["127.0.0.1".into()],
        keys: Vec::new(),
    };
    both.config.channels.insert(0, first);
    let (holder, one, other) =
        (join(&both.config).await, join(&one.config).await, join(&other).await);
    let mut listeners = [one.listen(), other.listen(), holder.listen()];
    holder.announce(Action::Register, &endpoint(1)).await.unwrap();
    holder.announce(Action::Update, &endpoint(1)).await.unwrap();
    // Who hears it on both channels is told once.
    for listener in &mut listeners {
        for action in [Action::Register, Action::Update] {
            assert_eq!(next(listener).await.announcement.action, action);
        }
    }
    holder.publish(endpoint(2)).unwrap();
    for querier in [&one, &other] {
        assert_eq!(query_name(querier, QueryMode::First).await[0].port, 2);
    }
    one.publish(endpoint(3)).unwrap();
    other.publish(endpoint(4)).unwrap();
    let found = query_name(&holder, QueryMode::All).await;
    let mut ports: Vec<_> = found.iter().map(|endpoint| endpoint.port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3, 4]);
}
