//! Connections that the server rejects or cuts because of what their clients do: counted and audited, like requests.

use std::error::Error;
use std::fmt;
use std::io;

use tracing::info;

use crate::slots::{Slot, Waits};
use crate::{HttpState, Peer};

/// The `tracing` target of the audit log.
pub(crate) const AUDIT: &str = "audit";

/// Why a connection ended without a response that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// There are too many connections, also to answer with 503.
    Connections,
    /// The client has too many connections, also to answer with 429.
    ConnectionsOfClient,
    /// The handshake failed: the client is not trusted, does not trust the server, or speaks another protocol.
    Handshake,
    /// The handshake, or the head of a request, did not arrive in time.
    SlowHead,
    /// The connection waited for its first request when there were too many connections.
    HalfOpen,
    /// The same, for its next request.
    Idle,
    /// The peer did not read a response.
    SlowReader,
    /// What arrived is not HTTP.
    Malformed,
}

// === impl Cut ===

impl Cut {
    /// Returns the value of `reason` in the metric and in the audit log.
    fn reason(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsOfClient => "connections_of_client",
            Self::Handshake => "handshake",
            Self::SlowHead => "slow_head",
            Self::HalfOpen => "half_open",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::Malformed => "malformed",
        }
    }

    /// Why a connection lost its place.
    pub(crate) fn evicted(slot: &Slot) -> Self {
        if slot.waits() == Some(Waits::Next) { Self::Idle } else { Self::HalfOpen }
    }

    /// Why a connection failed, if its client is the reason. Clients may close a connection at any time, and need not use it.
    pub(crate) fn failed(error: &hyper::Error, has_begun_a_request: bool) -> Option<Self> {
        let is_slow_reader = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        let is_slow_reader = is_slow_reader.is_some_and(|it| it.kind() == io::ErrorKind::TimedOut);
        match () {
            () if is_slow_reader => Some(Self::SlowReader),
            () if error.is_parse() => Some(Self::Malformed),
            () if error.is_timeout() && has_begun_a_request => Some(Self::SlowHead),
            () => None,
        }
    }
}

// === impl HttpState ===

impl HttpState {
    /// Counts a connection that was cut, and writes it to the audit log unless there are too many of the client.
    pub(crate) fn cut(&self, peer: &Peer, cut: Cut, detail: Option<&dyn fmt::Display>) {
        let reason = cut.reason();
        self.metrics().http_rejected(reason);
        if let Some(suppressed) = self.clients().audit(peer.host()) {
            let detail = detail.map(tracing::field::display);
            info!(
                target: AUDIT, action = "connect", outcome = "denied", %peer, reason, detail, suppressed,
                "Connection rejected"
            );
        }
    }
}
