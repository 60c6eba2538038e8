//! Several broadcasters on a network made up for the test, in paused time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use portolan_core::{HealthStatus, Host, Registration, Remedy, Ttl};
use tokio::time::Instant;

use super::*;
use crate::signature::Signing;
use crate::transport::memory::MemoryNetwork;
use crate::transport::{BoxFuture, BroadcastSocket, Destination, Receiver};

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const WAIT: Duration = Duration::from_secs(5);

fn network() -> MemoryNetwork {
    MemoryNetwork::new(7)
}

fn join_as(network: &MemoryNetwork, host: Ipv4Addr, config: &BroadcastConfig) -> Broadcaster {
    Broadcaster::with_transport(network.host(host), config, Metrics::new()).unwrap()
}

fn join(network: &MemoryNetwork, host: Ipv4Addr) -> Broadcaster {
    join_as(network, host, &BroadcastConfig::default())
}

fn endpoint_at(name: &str, host: Ipv4Addr, port: u16) -> ServiceEndpoint {
    let host = Host::try_from(IpAddr::from(host)).unwrap();
    let registration = Registration::new(name.parse().unwrap(), host, port);
    let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::now());
    ServiceEndpoint { health: HealthStatus::Passing, ..endpoint }
}

fn endpoint(name: &str) -> ServiceEndpoint {
    endpoint_at(name, A, 8080)
}

async fn query_name(querier: &Broadcaster, name: &str, mode: QueryMode) -> Vec<ServiceEndpoint> {
    querier.query(Some(&name.parse().unwrap()), &[], WAIT, mode).await.unwrap()
}

fn counted(broadcaster: &Broadcaster, sample: &str) -> bool {
    broadcaster.0.node.metrics.encode().lines().any(|line| line == sample)
}

/// Sends bytes to the channel, from a machine of its own.
async fn send_raw(network: &MemoryNetwork, payload: &[u8]) -> Box<dyn BroadcastSocket> {
    let socket = network.host(Ipv4Addr::new(10, 0, 0, 66)).open_socket().unwrap();
    socket.multicast(payload, Destination::Interface(2)).await.unwrap();
    socket
}

/// Lets every task that has something to do, do it.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn announcement_is_delivered_once_to_every_listener() {
    let network = network();
    let (speaker, near, far) = (join(&network, A), join(&network, A), join(&network, B));
    let mut listeners = [speaker.listen(), near.listen(), near.listen(), far.listen()];
    speaker.announce(Action::Register, &endpoint("api")).await.unwrap();
    for listener in &mut listeners {
        let received = listener.next().await.unwrap();
        assert_eq!(received.announcement.action, Action::Register);
        assert_eq!(received.announcement.service, endpoint_like(&received.announcement.service));
        assert_eq!(received.ttl, Ttl::DEFAULT);
    }
    settle().await;
    // On the speaker's own machine it came twice, by loopback and by the network.
    assert!(listeners.iter_mut().all(|listener| listener.next().now_or_never().is_none()));
    assert!(counted(&speaker, r#"discovery_announcements_sent_total{action="register"} 1"#));
    assert!(counted(&near, r#"discovery_announcements_received_total{action="register"} 1"#));
    assert!(counted(&near, r#"discovery_broadcast_errors_total{type="receive"} 0"#));
}

/// The endpoint as it was announced; its times are the announcer's.
fn endpoint_like(received: &ServiceEndpoint) -> ServiceEndpoint {
    let (registered_at, last_heartbeat) = (received.registered_at, received.last_heartbeat);
    ServiceEndpoint { registered_at, last_heartbeat, ..endpoint("api") }
}

#[tokio::test(start_paused = true)]
async fn published_endpoint_responds_at_once() {
    let network = network();
    let (holder, querier) = (join(&network, A), join(&network, B));
    holder.publish(endpoint("api")).unwrap();
    let start = Instant::now();
    let found = query_name(&querier, "api", QueryMode::First).await;
    assert_eq!(found.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["api@10.0.0.1:8080"]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(
        query_name(&holder, "api", QueryMode::First).await.len() == 1,
        "its own process may ask, too"
    );
}

#[tokio::test(start_paused = true)]
async fn query_without_a_response_ends_after_its_wait() {
    let network = network();
    let (holder, querier) = (join(&network, A), join(&network, B));
    holder.publish(endpoint("api")).unwrap();
    let start = Instant::now();
    assert!(query_name(&querier, "db", QueryMode::First).await.is_empty());
    assert_eq!(start.elapsed(), WAIT);
    assert!(holder.unpublish(&endpoint("api").id));
    assert!(query_name(&querier, "api", QueryMode::All).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn query_waits_briefly_for_a_better_response() {
    let network = network();
    let (one, other, querier) = (join(&network, A), join(&network, B), join(&network, B));
    let unknown = ServiceEndpoint { health: HealthStatus::Unknown, ..endpoint_at("api", A, 1) };
    one.publish(unknown).unwrap();
    other.publish(endpoint_at("api", B, 2)).unwrap();
    assert_eq!(query_name(&querier, "api", QueryMode::First).await[0].port, 2);

    other.unpublish(&endpoint_at("api", B, 2).id);
    let start = Instant::now();
    assert_eq!(query_name(&querier, "api", QueryMode::First).await[0].port, 1);
    assert!(start.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn query_for_all_collects_each_instance_once_including_critical_ones() {
    let network = network();
    let querier = join(&network, B);
    let holders: Vec<_> = (1..=40).map(|_| join(&network, A)).collect();
    for (port, holder) in (1..).zip(&holders) {
        let mut endpoint = endpoint_at("api", A, port);
        if port == 40 {
            endpoint.health = HealthStatus::Critical;
        }
        holder.publish(endpoint).unwrap();
    }
    let start = Instant::now();
    let found = query_name(&querier, "api", QueryMode::All).await;
    assert_eq!(found.len(), 40);
    assert_eq!(found[39].health, HealthStatus::Critical);
    assert!(start.elapsed() < WAIT, "it took {:?}", start.elapsed());
    let everything = querier.query(None, &[], WAIT, QueryMode::All).await.unwrap();
    assert_eq!(everything.len(), 40);
    for _ in 0..20 {
        assert_ne!(query_name(&querier, "api", QueryMode::First).await[0].port, 40);
    }
}

#[tokio::test(start_paused = true)]
async fn responses_are_sorted_by_the_scopes_of_the_query() {
    let network = network();
    let (holder, querier) = (join(&network, A), join(&network, B));
    let shop: Scope = "shop".parse().unwrap();
    let scoped = ServiceEndpoint {
        id: "shop-api".parse().unwrap(),
        scope: shop.clone(),
        ..endpoint_at("api", A, 2)
    };
    holder.publish(endpoint_at("api", A, 1)).unwrap();
    holder.publish(scoped).unwrap();
    let name: ServiceName = "api".parse().unwrap();
    let ports = async |scopes: &[Scope], mode| {
        let found = querier.query(Some(&name), scopes, WAIT, mode).await.unwrap();
        found.iter().map(|endpoint| endpoint.port).collect::<Vec<_>>()
    };
    let default = Scope::default();
    assert_eq!(ports(&[shop.clone(), default.clone()], QueryMode::All).await, [2, 1]);
    assert_eq!(ports(&[default.clone(), shop.clone()], QueryMode::All).await, [1, 2]);
    assert_eq!(ports(&[shop.clone(), default], QueryMode::First).await[0], 2);
    assert_eq!(ports(&[shop], QueryMode::All).await, [2]);
    assert_eq!(ports(&["other".parse().unwrap()], QueryMode::First).await, [0_u16; 0]);
}

#[tokio::test(start_paused = true)]
async fn loopback_endpoint_is_not_announced_to_other_hosts() {
    let network = network();
    let (holder, near, far) = (join(&network, A), join(&network, A), join(&network, B));
    let (mut nearby, mut faraway) = (near.listen(), far.listen());
    let local = endpoint_at("api", Ipv4Addr::LOCALHOST, 8080);
    holder.announce(Action::Register, &local).await.unwrap();
    holder.publish(local).unwrap();
    settle().await;
    assert!(nearby.next().now_or_never().is_some());
    assert!(faraway.next().now_or_never().is_none());
    assert_eq!(query_name(&near, "api", QueryMode::First).await.len(), 1);
    assert!(query_name(&far, "api", QueryMode::First).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn query_is_retransmitted_through_loss_and_a_partition() {
    let network = network();
    let (holder, querier) = (join(&network, A), join(&network, B));
    holder.publish(endpoint("api")).unwrap();
    network.set_loss(0.5);
    for _ in 0..20 {
        assert_eq!(query_name(&querier, "api", QueryMode::First).await.len(), 1);
    }
    network.set_loss(0.0);
    network.partition(A, B);
    let remembering = query_name(&querier, "api", QueryMode::First).await;
    assert_eq!(remembering.len(), 1, "it was received, and its TTL lasts");
    let querier = join(&network, B);
    assert!(query_name(&querier, "api", QueryMode::First).await.is_empty());
    let healing = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        network.heal();
    };
    let (found, ()) = tokio::join!(query_name(&querier, "api", QueryMode::First), healing);
    assert_eq!(found.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn announcer_that_answers_no_queries_is_found_by_its_announcement() {
    let network = network();
    let querier = join(&network, B);
    let minimal = serde_json::json!({
        "type": "service_announcement", "timestamp": Timestamp::now(), "ttl": 60,
        "service": {"name": "api", "host": "10.0.0.66", "port": 8080},
    });
    send_raw(&network, minimal.to_string().as_bytes()).await;
    let start = Instant::now();
    let found = query_name(&querier, "api", QueryMode::First).await;
    assert_eq!(found[0].address(), "10.0.0.66:8080");
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(query_name(&querier, "api", QueryMode::All).await.len(), 1);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(query_name(&querier, "api", QueryMode::First).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn critical_announcement_does_not_end_a_query() {
    let network = network();
    let (speaker, querier) = (join(&network, A), join(&network, B));
    let ill = ServiceEndpoint { health: HealthStatus::Critical, ..endpoint("api") };
    speaker.announce(Action::Register, &ill).await.unwrap();
    let recovery = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        speaker.publish(endpoint("api")).unwrap();
    };
    let (found, ()) = tokio::join!(query_name(&querier, "api", QueryMode::First), recovery);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].health, HealthStatus::Passing);
}

#[tokio::test(start_paused = true)]
async fn announced_instances_can_be_watched() {
    let network = network();
    let (speaker, watcher) = (join(&network, A), join(&network, B));
    let mut events = watcher.watch_peers();
    speaker.announce(Action::Register, &endpoint("api")).await.unwrap();
    speaker.announce(Action::Heartbeat, &endpoint("api")).await.unwrap();
    speaker.announce(Action::Deregister, &endpoint("api")).await.unwrap();
    speaker.announce(Action::Register, &endpoint("db")).await.unwrap();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&"expired") {
        kinds.push(events.next().await.unwrap().change.kind());
    }
    assert_eq!(kinds, ["snapshot", "registered", "deregistered", "registered", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn slow_listener_loses_the_oldest_announcements_and_counts_them() {
    let network = network();
    let (speaker, slow) = (join(&network, A), join(&network, B));
    let mut listener = slow.listen();
    for _ in 0..1030 {
        speaker.announce(Action::Heartbeat, &endpoint("api")).await.unwrap();
        tokio::task::yield_now().await;
    }
    settle().await;
    assert!(listener.next().await.is_some());
    assert_eq!(listener.lost(), 6);
    assert_eq!(format!("{listener:?}"), "AnnouncementListener { lost: 6, .. }");
    assert!(counted(&slow, r#"discovery_broadcast_errors_total{type="receive"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn message_with_another_key_is_dropped() {
    let network = network();
    let keyed = |key: &str| BroadcastConfig { key: Some(key.into()), ..Default::default() };
    let (right, wrong) = ("the right key of it", "some key of another");
    let holder = join_as(&network, A, &keyed(right));
    let friend = join_as(&network, B, &keyed(right));
    let foreign = join_as(&network, B, &keyed(wrong));
    let open = join(&network, B);
    holder.publish(endpoint("api")).unwrap();
    assert_eq!(query_name(&friend, "api", QueryMode::First).await.len(), 1);
    assert!(query_name(&foreign, "api", QueryMode::First).await.is_empty());
    assert!(query_name(&open, "api", QueryMode::First).await.is_empty());
    let metrics = holder.0.node.metrics.encode();
    assert!(!metrics.contains(r#"discovery_broadcast_errors_total{type="receive"} 0"#));
    for reason in ["unsigned", "wrong_signature"] {
        let none = format!("discovery_broadcast_dropped_total{{reason=\"{reason}\"}} 0");
        assert!(!metrics.contains(&none), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_datagrams_are_counted_and_change_nothing() {
    let network = network();
    let (holder, querier) = (join(&network, A), join(&network, B));
    holder.publish(endpoint("api")).unwrap();
    for payload in [&b"\xff\x00\x9f"[..], b"", b"{\"type\":\"service_ann", &[b'x'; 60_000]] {
        send_raw(&network, payload).await;
    }
    settle().await;
    assert!(counted(&holder, r#"discovery_broadcast_errors_total{type="receive"} 4"#));
    assert_eq!(query_name(&querier, "api", QueryMode::First).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn number_of_announced_instances_is_bounded() {
    let network = network();
    let config = BroadcastConfig { max_heard: 100, ..Default::default() };
    let listener = join_as(&network, B, &config);
    let socket = network.host(A).open_socket().unwrap();
    for number in 0..10_000 {
        let message = serde_json::json!({
            "type": "service_announcement", "timestamp": Timestamp::now(), "ttl": 60,
            "sender": format!("{number:x}"), "sequence": 1,
            "service": {"name": format!("s{number}"), "host": "10.0.0.1", "port": 8080},
        });
        socket.multicast(message.to_string().as_bytes(), Destination::Interface(2)).await.unwrap();
        tokio::task::yield_now().await;
    }
    settle().await;
    assert_eq!(listener.0.node.peers.count(None), 100);
    assert!(counted(
        &listener,
        r#"discovery_announcements_received_total{action="register"} 10000"#
    ));
    assert!(counted(&listener, r#"discovery_broadcast_errors_total{type="receive"} 9900"#));
}

#[tokio::test(start_paused = true)]
async fn own_socket_accepts_only_responses_to_its_queries() {
    let network = network();
    let (querier, trickster) = (join(&network, B), network.host(A).open_socket().unwrap());
    let mut listener = querier.listen();
    let said = |reply: Option<&str>| {
        let encoder = Encoder::new(&BroadcastConfig::default()).unwrap();
        let unsigned = Signing::new(Arc::default(), None);
        encoder.announcement(&unsigned, Action::Register, endpoint("api"), reply).unwrap()
    };
    // The first socket of the network's second machine; see MemoryNetwork.
    let own = "10.0.0.2:40001".parse().unwrap();
    for payload in [said(None), said(Some("guessed"))] {
        trickster.send_to(&payload, own).await.unwrap();
    }
    settle().await;
    assert!(listener.next().now_or_never().is_none());
    assert!(counted(&querier, r#"discovery_broadcast_errors_total{type="receive"} 2"#));
}

#[tokio::test(start_paused = true)]
async fn message_above_the_datagram_size_is_refused_with_its_size() {
    let broadcaster = join(&network(), A);
    let mut large = endpoint("api");
    large.metadata.insert("about", "x".repeat(1400));
    let error = broadcaster.announce(Action::Register, &large).await.unwrap_err().to_string();
    assert!(error.contains("expected at most 1400"), "{error}");
    assert!(matches!(broadcaster.publish(large), Err(AnnounceError::TooLarge { limit: 1400, .. })));

    let scopes: Vec<Scope> = (0..200).map(|n| format!("scope-{n}").parse().unwrap()).collect();
    let error = broadcaster.query(None, &scopes, WAIT, QueryMode::First).await.unwrap_err();
    assert!(error.with_remedy().contains("query fewer scopes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn stopped_broadcaster_ends_its_streams_and_fails_requests() {
    let network = network();
    let (broadcaster, other) = (join(&network, A), join(&network, B));
    broadcaster.publish(endpoint("api")).unwrap();
    let (mut listener, mut events) = (broadcaster.listen(), broadcaster.watch_peers());
    let name: ServiceName = "db".parse().unwrap();
    let asking = broadcaster.query(Some(&name), &[], WAIT, QueryMode::First);
    let (asked, ()) = tokio::join!(asking, async {
        settle().await;
        broadcaster.stop().await;
    });
    assert!(matches!(asked, Err(QueryError::Stopped)));
    assert_eq!(listener.next().await, None);
    assert_eq!(events.next().await.unwrap().change.kind(), "snapshot");
    assert_eq!(events.next().await, None);
    assert_eq!(broadcaster.listen().next().await, None);
    let refused = broadcaster.announce(Action::Register, &endpoint("api")).await;
    assert!(matches!(refused, Err(AnnounceError::Stopped)));
    assert!(matches!(broadcaster.publish(endpoint("api")), Err(AnnounceError::Stopped)));
    assert!(query_name(&other, "api", QueryMode::First).await.is_empty());
    broadcaster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_stops_the_broadcaster() {
    let network = network();
    let broadcaster = join(&network, A);
    let mut listener = broadcaster.listen();
    let clone = broadcaster.clone();
    drop(broadcaster);
    assert!(clone.is_listening());
    assert_eq!(clone.announce_interval(), Duration::from_secs(30));
    drop(clone);
    assert_eq!(listener.next().await, None);
}

#[tokio::test]
async fn disabled_channel_is_not_opened() {
    let config = BroadcastConfig { enabled: false, ..Default::default() };
    let error = Broadcaster::new(config, Metrics::new()).await.unwrap_err();
    assert!(matches!(error, BroadcastError::Disabled), "{error}");
}

/// A transport where nothing leaves and the first receive fails.
#[derive(Debug)]
struct Broken;

#[derive(Debug, Default)]
struct BrokenSocket {
    received: std::sync::atomic::AtomicU32,
}

impl Transport for Broken {
    fn destinations(&self) -> Vec<Destination> {
        vec![Destination::Loopback, Destination::Interface(2)]
    }
    fn addresses(&self, _: Destination) -> Vec<IpAddr> {
        Vec::new()
    }
    fn open_channel(&self) -> std::io::Result<Box<dyn Receiver>> {
        Ok(Box::new(BrokenSocket::default()))
    }
    fn open_socket(&self) -> std::io::Result<Box<dyn BroadcastSocket>> {
        Ok(Box::new(BrokenSocket::default()))
    }
    fn is_local_address(&self, _: IpAddr) -> bool {
        false
    }
    fn is_attached(&self, _: IpAddr) -> bool {
        true
    }
}

impl Receiver for BrokenSocket {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, std::io::Result<(usize, SocketAddr)>> {
        let count = self.received.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move {
            match count {
                0 => Err(std::io::ErrorKind::ConnectionReset.into()),
                1 => {
                    let query =
                        br#"{"type":"service_query","query_id":"q","ttl":1,"timestamp":"T"}"#;
                    let now = Timestamp::now().to_string();
                    let query = String::from_utf8_lossy(query).replace('T', &now);
                    let query = format!("{query:1000}");
                    buffer[..query.len()].copy_from_slice(query.as_bytes());
                    Ok((query.len(), SocketAddr::from(([10, 0, 0, 9], 40_000))))
                }
                _ => std::future::pending().await,
            }
        })
    }
}

impl BroadcastSocket for BrokenSocket {
    fn multicast<'a>(&'a self, _: &'a [u8], _: Destination) -> BoxFuture<'a, std::io::Result<()>> {
        Box::pin(async { Err(std::io::ErrorKind::NetworkDown.into()) })
    }
    fn send_to<'a>(&'a self, _: &'a [u8], _: SocketAddr) -> BoxFuture<'a, std::io::Result<()>> {
        Box::pin(async { Err(std::io::ErrorKind::PermissionDenied.into()) })
    }
}

#[tokio::test]
async fn channel_that_cannot_be_opened_is_an_error_within_a_runtime() {
    let key_file = Some("/nonexistent".into());
    let no_key = BroadcastConfig { key_file, ..BroadcastConfig::default() };
    let interface = "nosuch0".to_owned();
    let no_interface = BroadcastConfig { interface, ..BroadcastConfig::default() };
    for config in [no_key, no_interface] {
        let expected = Broadcaster::check(&config).unwrap_err().to_string();
        let error = Broadcaster::new(config, Metrics::new()).await.unwrap_err().to_string();
        assert_eq!(error, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_send_is_an_error_with_a_remedy_and_is_counted() {
    let config = BroadcastConfig::default();
    let broadcaster =
        Broadcaster::with_transport(Arc::new(Broken), &config, Metrics::new()).unwrap();
    let announced = broadcaster.announce(Action::Register, &endpoint("api")).await;
    assert!(matches!(announced, Err(AnnounceError::Send(_))));
    let asked = broadcaster.query(None, &[], WAIT, QueryMode::First).await.unwrap_err();
    assert!(asked.with_remedy().contains("check that the network"), "{asked}");
    assert!(counted(&broadcaster, r#"discovery_broadcast_errors_total{type="send"} 2"#));
}

#[tokio::test(start_paused = true)]
async fn failed_receive_is_retried_and_a_failed_response_is_counted() {
    let config = BroadcastConfig::default();
    let broadcaster =
        Broadcaster::with_transport(Arc::new(Broken), &config, Metrics::new()).unwrap();
    broadcaster.publish(endpoint("api")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Each socket failed once; on the own socket a query does not belong.
    assert!(counted(&broadcaster, r#"discovery_broadcast_errors_total{type="receive"} 3"#));
    // The channel's query was answered in vain.
    assert!(counted(&broadcaster, r#"discovery_broadcast_errors_total{type="send"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn responses_to_an_unsigned_query_are_at_most_three_times_as_large() {
    let network = network();
    let holder = join(&network, A);
    for port in 1..=10 {
        holder.publish(endpoint_at(&format!("service-{port}"), A, port)).unwrap();
    }
    let now = Timestamp::now();
    for spaces in [0, 200, 1_000] {
        let query = format!(
            r#"{{"type":"service_query","query_id":"q{spaces}","all":true,"ttl":1,"timestamp":"{now}"}}{}"#,
            " ".repeat(spaces)
        );
        let querier = send_raw(&network, query.as_bytes()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (mut buffer, mut received) = (vec![0; 1500], 0);
        while let Some(Ok((size, _))) = querier.receive(&mut buffer).now_or_never() {
            received += size;
        }
        assert!(received <= 3 * query.len(), "{received} for {}", query.len());
        assert_eq!(received > 0, spaces > 0, "{received} for {}", query.len());
    }
}

#[tokio::test(start_paused = true)]
async fn query_for_all_finds_more_instances_than_respond_at_once() {
    let network = network();
    let (holder, querier) = (join(&network, A), join(&network, B));
    for port in 1..=100 {
        holder.publish(endpoint_at(&format!("service-{port}"), A, port)).unwrap();
    }
    let found = querier.query(None, &[], WAIT, QueryMode::All).await.unwrap();
    assert_eq!(found.len(), 100);
    assert_eq!(query_name(&querier, "service-77", QueryMode::First).await.len(), 1);
}
