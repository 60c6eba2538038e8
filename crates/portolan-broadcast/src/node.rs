//! The state shared by the tasks of one broadcaster, and the processing of each datagram.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::{
    Body, Message, ServiceAnnouncement, ServiceEndpoint, ServiceQuery, Ttl, Vantage,
};
use portolan_metrics::{BroadcastErrorKind, Metrics};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use crate::encoder::Encoder;
use crate::inflight::Inflight;
use crate::link::{Ingress, Link, Source, Target};
use crate::listener::{Listeners, ReceivedAnnouncement};
use crate::local::{LocalEndpoints, spread};
use crate::log_limit::LogLimit;
use crate::peers::{Number, Origin, Peers};
use crate::reach::Reach;
use crate::responder::Reply;
use crate::response_limit::{AMPLIFICATION, ResponseLimit};
use crate::transport::Destination;
use crate::validate::{Arrival, Rejection};

/// The shared state of a broadcaster.
#[derive(Debug)]
pub(crate) struct Node {
    /// One for each channel, never empty.
    pub(crate) links: Vec<Link>,
    pub(crate) encoder: Encoder,
    pub(crate) peers: Arc<Peers>,
    pub(crate) local: Mutex<LocalEndpoints>,
    pub(crate) listeners: Listeners,
    pub(crate) inflight: Arc<Inflight>,
    pub(crate) responder: mpsc::Sender<Reply>,
    pub(crate) metrics: Metrics,
    pub(crate) log_limit: LogLimit,
    pub(crate) response_limit: ResponseLimit,
    pub(crate) stopped: CancellationToken,
}

// === impl Node ===

impl Node {
    /// Validates and processes one datagram; false if it is dropped.
    pub(crate) fn receive(&self, payload: &[u8], source: SocketAddr, from: Source) -> bool {
        let Some(link) = self.links.get(from.link) else { return false };
        let address = source.ip().to_canonical();
        let arrival = Arrival {
            payload,
            source,
            from_this_host: address.is_loopback() || link.transport.is_local_address(address),
            audience: link.audience(),
            is_attached: link.transport.is_attached(address),
            clock: Timestamp::now(),
            at: Instant::now(),
        };
        let checked = link.validator.lock().check(&arrival);
        let taken = checked.and_then(|message| self.dispatch(message, &arrival, from));
        taken.inspect_err(|rejection| self.drop_datagram(rejection, source)).is_ok()
    }

    /// Returns every destination of every channel.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let links = self.links.iter().enumerate();
        let targets = links.flat_map(|(link, it)| {
            let destinations = it.transport.destinations().into_iter();
            destinations.map(move |destination| Target { link, destination })
        });
        targets.collect()
    }

    /// Returns the link of a target.
    pub(crate) fn link(&self, target: Target) -> &Link {
        &self.links[target.link]
    }

    /// Returns whether a channel reaches other hosts without the group that accompanies it.
    pub(crate) fn has_main_network(&self) -> bool {
        self.links.iter().any(|link| !link.is_companion && link.networks().next().is_some())
    }

    /// Returns whether other hosts limit their responses, because a channel that reaches them has no key.
    pub(crate) fn is_limited(&self) -> bool {
        self.links.iter().any(|link| link.keys.is_empty() && link.networks().next().is_some())
    }

    /// Returns the hosts that are reached.
    pub(crate) fn reach(&self) -> Reach {
        let mut networks =
            self.links.iter().flat_map(|link| link.networks().map(move |it| (link, it)));
        let joined = |(link, it): (&Link, Destination)| {
            it == Destination::Peers || link.transport.is_joined(it)
        };
        match networks.any(joined) {
            true => Reach::Network,
            false if self.links.iter().any(|link| link.transport.has_networks()) => Reach::CutOff,
            false => Reach::Loopback,
        }
    }

    /// Reads the interfaces again.
    pub(crate) fn refresh(&self) {
        self.links.iter().for_each(|link| link.transport.refresh());
    }

    /// Sends each message to its destination. It is an error only if every destination fails: a host
    /// without a network still has loopback.
    pub(crate) async fn multicast(&self, messages: &[(Target, &[u8])]) -> io::Result<()> {
        let mut outcome = Err(io::ErrorKind::NetworkUnreachable.into());
        for &(target, payload) in messages {
            match self.link(target).socket.multicast(payload, target.destination).await {
                Ok(()) => outcome = Ok(()),
                Err(error) => {
                    debug!(?target, %error, "Message not sent");
                    outcome = outcome.map_err(|_| error);
                }
            }
        }
        if outcome.is_err() {
            self.metrics.broadcast_error(BroadcastErrorKind::Send);
        }
        outcome
    }

    /// Returns the endpoint for each destination, with the address that is reachable there; an
    /// endpoint on loopback only is for this host only.
    pub(crate) fn copies(&self, endpoint: &ServiceEndpoint) -> Vec<(Target, ServiceEndpoint)> {
        let copy = |target| Some((target, self.copy(endpoint, target)?));
        self.targets().into_iter().filter_map(copy).collect()
    }

    fn copy(&self, endpoint: &ServiceEndpoint, target: Target) -> Option<ServiceEndpoint> {
        if target.destination == Destination::Loopback {
            return Some(endpoint.clone());
        }
        let link = self.link(target);
        let here = link.transport.addresses(target.destination);
        let local = here.first().copied();
        let mut copy = endpoint.seen_from(Vantage::OtherHost { local, peer: local })?;
        copy.addresses.retain(|host| {
            let is_here = host.address().is_none_or(|address| here.contains(&address));
            !host.is_loopback() && (here.is_empty() || is_here)
        });
        // The main group announces it.
        let is_ipv4 = copy.host.address().is_some_and(|address| address.is_ipv4());
        (!(link.is_companion && is_ipv4)).then_some(copy)
    }

    /// Ends the queries in flight and the streams.
    pub(crate) fn close(&self) {
        self.stopped.cancel();
        self.listeners.close();
        self.peers.close();
    }

    fn dispatch(
        &self,
        message: Message,
        arrival: &Arrival<'_>,
        from: Source,
    ) -> Result<(), Rejection> {
        let Message { body, ttl, sender, sequence, .. } = message;
        match (body, from.ingress) {
            (Body::ServiceAnnouncement(announcement), ingress) => {
                self.check_asked(&announcement, ingress)?;
                let is_signed = self.links.get(from.link).is_some_and(|link| !link.keys.is_empty());
                let number = sender.zip(sequence).map(|(sender, sequence)| Number {
                    sender,
                    sequence,
                    is_signed,
                });
                self.apply_announcement(*announcement, ttl, number, arrival);
                Ok(())
            }
            (Body::ServiceQuery(query), Ingress::Channel) => {
                self.answer_query(&query, arrival, from.link);
                Ok(())
            }
            (Body::ServiceQuery(_), Ingress::Own) => Err(Rejection::Unasked),
        }
    }

    /// The own socket can be reached by unicast from anywhere, so a response there must name a query in
    /// flight.
    fn check_asked(
        &self,
        announcement: &ServiceAnnouncement,
        ingress: Ingress,
    ) -> Result<(), Rejection> {
        let query_id = announcement.in_reply_to.as_deref();
        if ingress == Ingress::Channel || query_id.is_some_and(|id| self.inflight.is_waiting(id)) {
            return Ok(());
        }
        let is_late = query_id.is_some_and(|id| self.inflight.has_ended(id));
        Err(if is_late { Rejection::Late } else { Rejection::Unasked })
    }

    fn apply_announcement(
        &self,
        announcement: ServiceAnnouncement,
        ttl: Ttl,
        number: Option<Number>,
        arrival: &Arrival<'_>,
    ) {
        let ServiceAnnouncement { action, service, in_reply_to } = announcement;
        let service = Arc::new(service);
        trace!(service_name = %service.name, service_id = %service.id, %action, "Announcement received");
        self.metrics.announcement_received(action.as_str());
        let origin = Origin { source: arrival.source.ip().to_canonical(), number };
        let is_kept = self.peers.apply(action, &service, ttl, origin, arrival.at).is_ok();
        if !is_kept {
            self.metrics.broadcast_error(BroadcastErrorKind::Receive);
            debug!(service_id = %service.id, "Instance ignored, the table is full; raise broadcast.max_heard");
        }
        if let Some(query_id) = &in_reply_to
            && !self.inflight.deliver(query_id, (*service).clone())
        {
            debug!(service_id = %service.id, "Response dropped, its query has ended or is too slow");
        }
        if is_kept {
            self.listeners.send(|| ReceivedAnnouncement {
                announcement: ServiceAnnouncement {
                    action,
                    service: (*service).clone(),
                    in_reply_to,
                },
                ttl,
                source: arrival.source,
            });
        }
    }

    fn answer_query(&self, query: &ServiceQuery, arrival: &Arrival<'_>, link: usize) {
        // The source of a query without a signature may be forged.
        let is_open = self.links.get(link).is_some_and(|link| link.keys.is_empty());
        let limit = (is_open && !arrival.from_this_host)
            .then(|| arrival.payload.len().saturating_mul(AMPLIFICATION));
        let answers = self.local.lock().answers(query, arrival.from_this_host, limit);
        if answers.is_empty() {
            return;
        }
        let expected = answers.len().max(self.peers.count(query.name.as_ref()));
        let spread = spread(query, expected);
        for service_id in answers {
            let after = spread.map(|spread| spread.mul_f64(rand::random())).unwrap_or_default();
            let query_id = query.query_id.clone();
            let (to, from_this_host) = (arrival.source, arrival.from_this_host);
            let reply = Reply { service_id, link, query_id, to, from_this_host, after };
            if self.responder.try_send(reply).is_err() {
                self.metrics.broadcast_error(BroadcastErrorKind::Send);
                debug!(source = %arrival.source, "Response dropped, the queue is full");
            }
        }
    }

    fn drop_datagram(&self, rejection: &Rejection, source: SocketAddr) {
        self.metrics.datagram_dropped(rejection.reason());
        if rejection.is_error() {
            self.metrics.broadcast_error(BroadcastErrorKind::Receive);
        }
        match rejection.is_error().then(|| self.log_limit.acquire()).flatten() {
            Some(suppressed) => warn!(%source, reason = %rejection, suppressed, "Datagram dropped"),
            None => debug!(%source, reason = %rejection, "Datagram dropped"),
        }
    }
}
