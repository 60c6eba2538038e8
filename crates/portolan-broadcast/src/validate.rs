//! Validation of datagrams: the only place that decides which are accepted. It performs no I/O, and the
//! caller passes the time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use portolan_core::{Body, Message, Ttl, escaped_line, quote};
use portolan_metrics::DropReason;
use tokio::time::Instant;

use crate::BroadcastConfig;
use crate::decode;
use crate::keys::{BadSignature, FollowedKeys};
use crate::replay::{Novelty, Replays};
use crate::signature::Unverified;

/// The longest `sender`, `key_id`, `query_id` and `in_reply_to`, in bytes.
pub(crate) const MAX_TEXT: usize = 64;
/// The greatest sequence number that JSON readers, and with them the signature, represent exactly.
const MAX_SEQUENCE: u64 = (1 << 53) - 1;

/// The checks and the replay detection.
#[derive(Debug)]
pub(crate) struct Validator {
    max_datagram: usize,
    allowed_networks: Vec<IpNet>,
    peers: Vec<IpAddr>,
    window: Duration,
    max_ttl: Duration,
    keys: Arc<FollowedKeys>,
    replays: Replays,
    /// When this process began to listen.
    started: Timestamp,
}

/// A datagram and the circumstances of its arrival.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    /// Its bytes.
    pub(crate) payload: &'a [u8],
    /// The address that sent it.
    pub(crate) source: SocketAddr,
    /// Whether the sender is on this host.
    pub(crate) from_this_host: bool,
    /// The channel that signed messages must name, if it has a key.
    pub(crate) audience: Option<&'a str>,
    /// Whether the sender is on a network that this host is attached to.
    pub(crate) is_attached: bool,
    /// The wall clock time.
    pub(crate) clock: Timestamp,
    /// The monotonic time.
    pub(crate) at: Instant,
}

/// Why a datagram is dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("it has more than {limit} bytes; broadcast.max_datagram sets the limit")]
    TooLarge { limit: usize },
    #[error("it comes from {0}, which is in none of broadcast.allowed_networks")]
    Network(IpAddr),
    #[error(
        "it comes from {0}, which is on no network of this host; add that network, and those of this host, to \
         broadcast.allowed_networks to accept it"
    )]
    Elsewhere(IpAddr),
    #[error("it is not a JSON object: {}", plain(.0))]
    NotJson(#[source] serde_json::Error),
    #[error("it is signed with the key {id:?}, which is none of {known}")]
    UnknownKey { id: String, known: String },
    #[error("it is not signed, and the channel has a key")]
    Unsigned,
    #[error("its signature is that of another key, or it was changed")]
    WrongSignature,
    #[error("it was signed for another channel than {expected}")]
    Audience { expected: String },
    #[error("it is not a message: {}", plain(.0))]
    NotAMessage(#[source] serde_json::Error),
    #[error("its protocol version is {0:?}, expected 1.x")]
    Version(String),
    #[error("its {member} is out of bounds; the limit is {limit}")]
    Member { member: &'static str, limit: u64 },
    #[error("its TTL of {ttl} is longer than broadcast.max_ttl, {limit:?}")]
    Ttl { ttl: Ttl, limit: Duration },
    #[error(
        "its timestamp differs from this clock by {off:?}, more than broadcast.window, {limit:?}; synchronise both clocks"
    )]
    Clock { off: Duration, limit: Duration },
    #[error("it announces a loopback address from another host")]
    Loopback,
    #[error("it was received before, on another interface")]
    Repeat,
    #[error("it was received before and is replayed")]
    Replay,
    #[error("it responds to no query of this process")]
    Unasked,
    #[error("it answers a query that has ended")]
    Late,
}

/// The text of an error that may quote what a peer has sent.
fn plain(error: &serde_json::Error) -> String {
    quote::bounded(&escaped_line(&error.to_string()))
}

// === impl Rejection ===

impl Rejection {
    /// Whether something is wrong; a repeat is what every machine with two interfaces hears, and
    /// the second holder of a service answers late.
    pub(crate) fn is_error(&self) -> bool {
        !matches!(self, Self::Repeat | Self::Late)
    }

    /// The reason in the metric of dropped datagrams.
    pub(crate) fn reason(&self) -> DropReason {
        match self {
            Self::Unsigned => DropReason::Unsigned,
            Self::UnknownKey { .. } => DropReason::UnknownKey,
            Self::WrongSignature => DropReason::WrongSignature,
            Self::Audience { .. } => DropReason::OtherChannel,
            Self::Network(_) | Self::Elsewhere(_) => DropReason::Network,
            Self::Clock { .. } => DropReason::Clock,
            Self::Replay => DropReason::Replay,
            Self::Repeat => DropReason::Repeat,
            Self::Loopback => DropReason::Loopback,
            Self::Unasked | Self::Late => DropReason::Unasked,
            Self::TooLarge { .. }
            | Self::NotJson(_)
            | Self::NotAMessage(_)
            | Self::Version(_)
            | Self::Member { .. }
            | Self::Ttl { .. } => DropReason::Invalid,
        }
    }
}

// === impl Validator ===

impl Validator {
    pub(crate) fn new(config: &BroadcastConfig, keys: Arc<FollowedKeys>) -> Self {
        Self {
            max_datagram: config.max_datagram,
            allowed_networks: config.allowed_networks.clone(),
            peers: config.peers.iter().map(|peer| peer.ip().to_canonical()).collect(),
            window: config.window,
            max_ttl: config.max_ttl,
            keys,
            replays: Replays::default(),
            started: Timestamp::MIN,
        }
    }

    /// Sets when this process began to listen: what was signed before that may have been received by an earlier one, and sent
    /// again.
    pub(crate) fn started(self, at: Timestamp) -> Self {
        Self { started: at, ..self }
    }

    /// Returns the message if it is accepted. The cheap checks come first, and replay detection last, so that
    /// only valid messages use memory.
    pub(crate) fn check(&mut self, arrival: &Arrival<'_>) -> Result<Message, Rejection> {
        self.check_size(arrival.payload)?;
        self.check_network(arrival)?;
        let (message, identity) = match self.keys.is_empty() {
            true => (decode::message(arrival.payload)?, None),
            false => {
                let (message, signature) = self.verified(arrival.payload)?;
                (message, Some(signature))
            }
        };
        check_audience(&message, arrival.audience)?;
        check_members(&message)?;
        self.check_ttl(message.ttl)?;
        self.check_clock(message.timestamp, arrival.clock)?;
        self.check_age(&message)?;
        check_host(&message, arrival.from_this_host)?;
        let contents = identity.as_ref().map_or(arrival.payload, |signature| &signature[..]);
        self.check_novelty(&message, contents, arrival)?;
        Ok(message)
    }

    fn check_size(&self, payload: &[u8]) -> Result<(), Rejection> {
        let limit = self.max_datagram;
        if payload.len() > limit { Err(Rejection::TooLarge { limit }) } else { Ok(()) }
    }

    /// Without `allowed_networks` a sender is on a network of this host, as in RFC 6762, section 11: a multicast does not pass
    /// a router, so the source of any other datagram is forged, or it was sent to this host by unicast.
    fn check_network(&self, arrival: &Arrival<'_>) -> Result<(), Rejection> {
        let source = arrival.source.ip().to_canonical();
        let networks = &self.allowed_networks;
        if !networks.is_empty() {
            let is_allowed = networks.iter().any(|network| network.contains(&source));
            return if is_allowed { Ok(()) } else { Err(Rejection::Network(source)) };
        }
        let is_near = arrival.from_this_host || arrival.is_attached;
        if is_near || self.peers.contains(&source) {
            Ok(())
        } else {
            Err(Rejection::Elsewhere(source))
        }
    }

    /// Verifies the signature before anything else is read, and returns it too: it is equal in every copy of a message, whatever
    /// its encoding.
    fn verified(&self, payload: &[u8]) -> Result<(Message, [u8; 32]), Rejection> {
        if let Some(unverified) = std::str::from_utf8(payload).ok().and_then(Unverified::of_text) {
            let signature = self.verify(unverified)?;
            let message = Message { signature: None, ..decode::message(payload)? };
            return Ok((message, signature));
        }
        let mut object = decode::object(payload)?;
        let signature = self.verify(Unverified::of_tree(&mut object))?;
        Ok((decode::message_of(object)?, signature))
    }

    fn verify(&self, message: Result<Unverified, BadSignature>) -> Result<[u8; 32], Rejection> {
        let verified = message.as_ref().map_err(BadSignature::clone);
        let signature = |message: &Unverified| message.signature;
        let verified =
            verified.and_then(|message| self.keys.verify(message).map(|()| signature(message)));
        verified.map_err(|bad| match bad {
            BadSignature::Missing => Rejection::Unsigned,
            BadSignature::Wrong => Rejection::WrongSignature,
            BadSignature::UnknownKey { known } => {
                let id = message.ok().and_then(|message| message.key_id).unwrap_or_default();
                Rejection::UnknownKey { id: id.chars().take(MAX_TEXT).collect(), known }
            }
        })
    }

    fn check_ttl(&self, ttl: Ttl) -> Result<(), Rejection> {
        let limit = self.max_ttl;
        if ttl.duration() > limit { Err(Rejection::Ttl { ttl, limit }) } else { Ok(()) }
    }

    fn check_clock(&self, timestamp: Timestamp, clock: Timestamp) -> Result<(), Rejection> {
        let off = clock.duration_since(timestamp).unsigned_abs();
        let limit = self.window;
        if off > limit { Err(Rejection::Clock { off, limit }) } else { Ok(()) }
    }

    /// Rejects signed messages from before the start of this process: which ones an earlier process has received is not known any
    /// more. A response names a random query of this process, so it is not older.
    fn check_age(&self, message: &Message) -> Result<(), Rejection> {
        let is_response = matches!(&message.body,
            Body::ServiceAnnouncement(announcement) if announcement.in_reply_to.is_some());
        let is_old = !self.keys.is_empty() && is_before(message.timestamp, self.started);
        if is_old && !is_response { Err(Rejection::Replay) } else { Ok(()) }
    }

    fn check_novelty(
        &mut self,
        message: &Message,
        contents: &[u8],
        arrival: &Arrival<'_>,
    ) -> Result<(), Rejection> {
        let at = arrival.at;
        let novelty = match (&message.sender, message.sequence) {
            (Some(sender), Some(sequence)) if !self.keys.is_empty() => {
                self.replays.observe(sender, sequence, at)
            }
            // Without a key everyone can name any sender, from any address. A sequence number is therefore not compared with the
            // highest one, so that a high one does not mute its sender. Nor can one be used up in advance: the time of the
            // message would have to be known to the nanosecond.
            (Some(sender), Some(sequence)) => {
                let copy = format!("{sender}\0{sequence}\0{}", message.timestamp);
                self.replays.observe_anonymous(copy.as_bytes(), at)
            }
            _ => self.replays.observe_anonymous(contents, at),
        };
        match novelty {
            Novelty::New => Ok(()),
            Novelty::Repeat => Err(Rejection::Repeat),
            Novelty::Replay => Err(Rejection::Replay),
        }
    }
}

/// Rejects a message for another channel. A sender that follows the specification only names none.
fn check_audience(message: &Message, expected: Option<&str>) -> Result<(), Rejection> {
    match (expected, message.audience.as_deref()) {
        (Some(expected), Some(named)) if named != expected => {
            Err(Rejection::Audience { expected: expected.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Returns whether a message is older than the start. A sender may leave out the fraction of a second.
fn is_before(message: Timestamp, started: Timestamp) -> bool {
    match message.subsec_nanosecond() {
        0 => message.as_second() < started.as_second(),
        _ => message < started,
    }
}

fn check_members(message: &Message) -> Result<(), Rejection> {
    if !(message.version == "1" || message.version.starts_with("1.")) {
        return Err(Rejection::Version(message.version.chars().take(MAX_TEXT).collect()));
    }
    if message.sequence.is_some_and(|sequence| sequence > MAX_SEQUENCE) {
        return Err(Rejection::Member { member: "sequence", limit: MAX_SEQUENCE });
    }
    let query = match &message.body {
        Body::ServiceQuery(query) => Some(&query.query_id),
        Body::ServiceAnnouncement(announcement) => announcement.in_reply_to.as_ref(),
    };
    for (member, text) in [
        ("sender", message.sender.as_ref()),
        ("key_id", message.key_id.as_ref()),
        ("query_id or in_reply_to", query),
    ] {
        if text.is_some_and(|text| text.len() > MAX_TEXT) {
            return Err(Rejection::Member { member, limit: MAX_TEXT as u64 });
        }
    }
    Ok(())
}

fn check_host(message: &Message, from_this_host: bool) -> Result<(), Rejection> {
    match &message.body {
        Body::ServiceAnnouncement(announcement)
            if announcement.service.host.is_loopback() && !from_this_host =>
        {
            Err(Rejection::Loopback)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
