//! Datagrams on the broadcast channel, one a line, sent to two members, one of which requires
//! signatures. Nothing is accepted that fails a check.
//!
//! A line that is a JSON object is sent unchanged, and again with a current timestamp and query id, so
//! that the later checks are reached.

#![no_main]

use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use portolan_broadcast::transport::memory::{MemoryNetwork, MemoryTransport};
use portolan_broadcast::transport::{Destination, Receiver, BroadcastSocket, Transport};
use portolan_broadcast::{AnnouncementListener, BroadcastConfig, Broadcaster, QueryMode};
use portolan_core::{
    Body, Change, HealthStatus, Host, Message, Registration, ServiceEndpoint, Ttl,
};
use serde_json::{Map, Value};
use tokio::runtime::{Builder, Runtime};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
const WAIT: Duration = Duration::from_secs(5);
const MAX_DATAGRAM: usize = 1400;
const MAX_HEARD: usize = 8;
/// More lines than the peer table has room for.
const MAX_LINES: usize = 24;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
}

fuzz_target!(|data: &[u8]| RUNTIME.with(|runtime| runtime.block_on(throw(data))));

/// A hostile host on the network.
struct Attacker {
    socket: Box<dyn BroadcastSocket>,
    channel: Box<dyn Receiver>,
}

async fn throw(data: &[u8]) {
    let network = MemoryNetwork::new(1);
    // The two members receive from the attacker only.
    network.partition(HERE, THERE);
    let open =
        join(&network.host(HERE), &BroadcastConfig { max_heard: MAX_HEARD, ..Default::default() });
    let key = Some("a secret key".into());
    let signed = join(&network.host(THERE), &BroadcastConfig { key, ..Default::default() });
    let (heard, forged, mut changes) = (open.listen(), signed.listen(), open.watch_peers());
    open.publish(held()).expect("room for one");
    signed.publish(held()).expect("room for one");

    let attacker = Attacker::at(&network);
    let (found, ()) =
        tokio::join!(open.query(None, &[], WAIT, QueryMode::All), attacker.speak(data));
    check_found(&found.expect("a query that could be sent"));
    check_heard(heard);
    assert!(all_of(forged).is_empty(), "an unsigned message was accepted");
    check_answers(&*attacker.socket);
    while let Some(Some(event)) = changes.next().now_or_never() {
        if let Change::Snapshot { endpoints, .. } = event.change {
            assert!(endpoints.len() <= MAX_HEARD);
        }
    }
    open.stop().await;
    signed.stop().await;
}

fn join(host: &Arc<MemoryTransport>, config: &BroadcastConfig) -> Broadcaster {
    Broadcaster::with_transport(host.clone(), config, Default::default()).expect("a member")
}

fn held() -> ServiceEndpoint {
    let host: Host = HERE.to_string().parse().expect("a host");
    let registration = Registration::new("api".parse().expect("a name"), host, 8080);
    let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::now());
    ServiceEndpoint { health: HealthStatus::Passing, ..endpoint }
}

// === impl Attacker ===

impl Attacker {
    fn at(network: &MemoryNetwork) -> Self {
        let host = network.host(ELSEWHERE);
        let (socket, channel) =
            (host.open_socket().expect("a socket"), host.open_channel().expect("a socket"));
        Self { socket, channel }
    }

    /// Waits for the multicast query, and sends every line to the group and to the sender.
    async fn speak(&self, data: &[u8]) {
        let mut buffer = [0; MAX_DATAGRAM];
        let received = self.channel.receive(&mut buffer).await;
        let (size, asker) = received.expect("a question");
        let question: Message = serde_json::from_slice(&buffer[..size]).expect("a message");
        let Body::ServiceQuery(query) = question.body else { panic!("not a question") };
        for line in data.split(|byte| *byte == b'\n').take(MAX_LINES) {
            self.say(line, asker).await;
            if let Ok(message) = serde_json::from_slice(line) {
                let message = brought_up_to_date(message, &query.query_id);
                let line = serde_json::to_vec(&message).expect("JSON");
                self.say(&line, asker).await;
            }
            // The receive queue is bounded.
            tokio::task::yield_now().await;
        }
    }

    async fn say(&self, line: &[u8], asker: SocketAddr) {
        self.socket.multicast(line, Destination::Interface(2)).await.expect("memory");
        self.socket.send_to(line, asker).await.expect("memory");
    }
}

fn brought_up_to_date(mut message: Map<String, Value>, query_id: &str) -> Map<String, Value> {
    message.insert("timestamp".to_owned(), Timestamp::now().to_string().into());
    if message.contains_key("in_reply_to") {
        message.insert("in_reply_to".to_owned(), query_id.into());
    }
    // Has the form of a signature, so that it is compared with the valid one.
    message.entry("signature").or_insert_with(|| "0".repeat(64).into());
    message
}

fn check_found(found: &[ServiceEndpoint]) {
    for endpoint in found {
        check_accepted(endpoint);
        assert_eq!(found.iter().filter(|other| other.id == endpoint.id).count(), 1);
    }
}

fn check_heard(heard: AnnouncementListener) {
    for heard in all_of(heard) {
        assert!(heard.ttl.duration() <= BroadcastConfig::default().max_ttl);
        if heard.source.ip() != ELSEWHERE {
            // The member's own response to its own query.
            assert_eq!(heard.announcement.service.id, held().id);
        }
        check_accepted(&heard.announcement.service);
        let written = serde_json::to_string(&heard.announcement).expect("it can be written");
        assert_eq!(serde_json::from_str(&written).ok().as_ref(), Some(&heard.announcement));
    }
}

fn check_accepted(endpoint: &ServiceEndpoint) {
    Registration::from(endpoint.clone()).validate().expect("an accepted endpoint is valid");
    assert!(!endpoint.host.is_loopback(), "another machine's loopback address");
}

/// Checks that a member's responses are bounded in size and number, and name its own endpoints.
fn check_answers(socket: &dyn BroadcastSocket) {
    let mut buffer = [0; MAX_DATAGRAM + 1];
    let mut count = 0;
    while let Some(received) = socket.receive(&mut buffer).now_or_never() {
        let (size, _) = received.expect("memory");
        assert!(size <= MAX_DATAGRAM);
        let answer: Message = serde_json::from_slice(&buffer[..size]).expect("a message");
        let Body::ServiceAnnouncement(answer) = answer.body else { panic!("not an answer") };
        assert_eq!(answer.service.id, held().id);
        count += 1;
    }
    assert!(count <= 2 * MAX_LINES, "{count} answers");
}

fn all_of<S: futures_util::Stream<Item: Debug> + Unpin>(mut stream: S) -> Vec<S::Item> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}
