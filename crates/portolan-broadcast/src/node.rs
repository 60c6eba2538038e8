//! What the tasks of one broadcaster share, and what becomes of each datagram.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::{Body, Message, ServiceAnnouncement, ServiceEndpoint, ServiceQuery};
use portolan_metrics::{BroadcastErrorKind, Metrics};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use crate::encoder::Encoder;
use crate::inflight::Inflight;
use crate::listener::{Listeners, ReceivedAnnouncement};
use crate::local::{LocalEndpoints, spread};
use crate::log_limit::LogLimit;
use crate::peers::{Origin, Peers};
use crate::responder::Reply;
use crate::transport::{BroadcastSocket, Destination, Transport};
use crate::validate::{Arrival, Rejection, Validator};

/// One process's place on the channel, from the inside.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) socket: Box<dyn BroadcastSocket>,
    pub(crate) encoder: Encoder,
    pub(crate) validator: Mutex<Validator>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) local: Mutex<LocalEndpoints>,
    pub(crate) listeners: Listeners,
    pub(crate) inflight: Arc<Inflight>,
    pub(crate) responder: mpsc::Sender<Reply>,
    pub(crate) metrics: Metrics,
    pub(crate) log_limit: LogLimit,
    pub(crate) stopped: CancellationToken,
}

/// Where a datagram came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ingress {
    /// On the channel, for all to hear.
    Channel,
    /// On this process's own socket, where only answers to its queries belong.
    Own,
}

// === impl Node ===

impl Node {
    /// Deals with one datagram, whatever it is.
    pub(crate) fn take_in(&self, payload: &[u8], source: SocketAddr, ingress: Ingress) {
        let address = source.ip().to_canonical();
        let arrival = Arrival {
            payload,
            source,
            from_here: address.is_loopback() || self.transport.is_local_address(address),
            clock: Timestamp::now(),
            at: Instant::now(),
        };
        let checked = self.validator.lock().check(&arrival);
        let taken = checked.and_then(|message| self.take_message(&message, &arrival, ingress));
        if let Err(rejection) = taken {
            self.drop_datagram(&rejection, source);
        }
    }

    /// Sends each message to its circle. An error only where none of them could be reached: a
    /// machine without a network still has its own processes.
    pub(crate) async fn multicast(&self, messages: &[(Destination, &[u8])]) -> io::Result<()> {
        let mut outcome = Err(io::ErrorKind::NetworkUnreachable.into());
        for &(reach, payload) in messages {
            match self.socket.multicast(payload, reach).await {
                Ok(()) => outcome = Ok(()),
                Err(error) => {
                    debug!(?reach, %error, "cannot send there");
                    outcome = outcome.map_err(|_| error);
                }
            }
        }
        if outcome.is_err() {
            self.metrics.broadcast_error(BroadcastErrorKind::Send);
        }
        outcome
    }

    /// The circles that may hear of the endpoint.
    pub(crate) fn reaches_for(&self, endpoint: &ServiceEndpoint) -> &[Destination] {
        match endpoint.host.is_loopback() {
            true => &[Destination::Loopback],
            false => self.transport.destinations(),
        }
    }

    /// Ends what waits and what streams.
    pub(crate) fn close(&self) {
        self.stopped.cancel();
        self.listeners.close();
        self.peers.close();
    }

    fn take_message(
        &self,
        message: &Message,
        arrival: &Arrival<'_>,
        ingress: Ingress,
    ) -> Result<(), Rejection> {
        match (&message.body, ingress) {
            (Body::ServiceAnnouncement(announcement), ingress) => {
                self.check_asked(announcement, ingress)?;
                self.take_announcement(announcement, message, arrival);
                Ok(())
            }
            (Body::ServiceQuery(query), Ingress::Channel) => {
                self.take_query(query, arrival);
                Ok(())
            }
            (Body::ServiceQuery(_), Ingress::Own) => Err(Rejection::Unasked),
        }
    }

    /// The own socket can be reached by unicast from anywhere; who answers there must have heard the question.
    fn check_asked(
        &self,
        announcement: &ServiceAnnouncement,
        ingress: Ingress,
    ) -> Result<(), Rejection> {
        let asked =
            || announcement.in_reply_to.as_deref().is_some_and(|id| self.inflight.is_waiting(id));
        if ingress == Ingress::Channel || asked() { Ok(()) } else { Err(Rejection::Unasked) }
    }

    fn take_announcement(
        &self,
        announcement: &ServiceAnnouncement,
        message: &Message,
        arrival: &Arrival<'_>,
    ) {
        let &ServiceAnnouncement { action, ref service, ref in_reply_to } = announcement;
        trace!(service_name = %service.name, service_id = %service.id, %action, "announcement heard");
        self.metrics.announcement_received(action.as_str());
        let origin = message
            .sender
            .clone()
            .zip(message.sequence)
            .map(|(sender, sequence)| Origin { sender, sequence });
        if self.peers.hear(announcement, message.ttl, origin, arrival.at).is_err() {
            self.metrics.broadcast_error(BroadcastErrorKind::Receive);
            debug!(service_id = %service.id, "no room to remember an instance; raise broadcast.max_heard");
        }
        if let Some(query_id) = in_reply_to
            && !self.inflight.answer(query_id, service.clone())
        {
            debug!(service_id = %service.id, "an answer came too late or too fast");
        }
        self.listeners.tell(|| ReceivedAnnouncement {
            announcement: announcement.clone(),
            ttl: message.ttl,
            source: arrival.source,
        });
    }

    fn take_query(&self, query: &ServiceQuery, arrival: &Arrival<'_>) {
        let answers = self.local.lock().answers(query, arrival.from_here);
        if answers.is_empty() {
            return;
        }
        let expected = answers.len().max(self.peers.count(query.name.as_ref()));
        let spread = spread(query, expected);
        for service_id in answers {
            let after = spread.map(|spread| spread.mul_f64(rand::random())).unwrap_or_default();
            let query_id = query.query_id.clone();
            let reply = Reply { service_id, query_id, to: arrival.source, after };
            if self.responder.try_send(reply).is_err() {
                self.metrics.broadcast_error(BroadcastErrorKind::Send);
                debug!(source = %arrival.source, "too many queries to answer, leaving one out");
            }
        }
    }

    fn drop_datagram(&self, rejection: &Rejection, source: SocketAddr) {
        if rejection.is_error() {
            self.metrics.broadcast_error(BroadcastErrorKind::Receive);
        }
        match rejection.is_error().then(|| self.log_limit.take()).flatten() {
            Some(untold) => warn!(%source, reason = %rejection, untold, "Datagram dropped"),
            None => debug!(%source, reason = %rejection, "datagram dropped"),
        }
    }
}
