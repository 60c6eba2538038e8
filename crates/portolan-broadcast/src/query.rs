//! A query on the channel: sent repeatedly because datagrams can be lost, until the result is complete.

use std::time::Duration;

use portolan_core::{Backoff, Scope, ServiceEndpoint, ServiceName, ServiceQuery, Ttl};
use tokio::time::Instant;
use tracing::debug;

use crate::collector::Collector;
use crate::encoder::TooLarge;
use crate::inflight::{MAX_INFLIGHT, Ticket};
use crate::link::Target;
use crate::node::Node;
use crate::transport::Destination;
use crate::{QueryError, QueryMode};

/// The interval before the first retransmission; each further one is twice as long.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);
/// The longest interval between retransmissions, after which a service that has just started is found.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// How long a query for one instance waits for a better response than the first.
const BETTER_SPAN: Duration = Duration::from_millis(20);
/// How long after the last new instance a query for all is complete: twice the longest delay of responders.
const QUIET_SPAN: Duration = Duration::from_millis(250);
/// How long after a new instance the next part of the instances is asked for, if responses are limited.
const NEXT_PAGE: Duration = Duration::from_millis(100);
/// The number of transmissions without a response after which earlier announcements are the result. Not
/// every announcer answers queries, which the specification does not have.
const MAX_UNANSWERED: u32 = 3;

/// The longest wait for a response: the longest TTL.
const MAX_WAIT: Duration = Ttl::MAX;

/// A query in progress.
struct Query<'a> {
    node: &'a Node,
    ticket: Ticket,
    name: Option<&'a ServiceName>,
    scopes: &'a [Scope],
    mode: QueryMode,
    wait: Duration,
    collector: Collector<'a>,
    sent: u32,
}

/// Sends a query and collects responses for at most `wait`. The result is empty if there are none.
pub(crate) async fn query(
    node: &Node,
    name: Option<&ServiceName>,
    scopes: &[Scope],
    wait: Duration,
    mode: QueryMode,
) -> Result<Vec<ServiceEndpoint>, QueryError> {
    let limit = MAX_INFLIGHT;
    let ticket = node.inflight.open().ok_or(QueryError::TooMany { limit })?;
    let collector = Collector::new(name, scopes, mode);
    let wait = wait.min(MAX_WAIT);
    let query = Query { node, ticket, name, scopes, mode, wait, collector, sent: 0 };
    tokio::select! {
        biased;
        () = node.stopped.cancelled() => Err(QueryError::Stopped),
        result = query.run() => result,
    }
}

// === impl Query ===

impl Query<'_> {
    async fn run(mut self) -> Result<Vec<ServiceEndpoint>, QueryError> {
        let start = Instant::now();
        let mut end = start + self.wait;
        let mut next = start;
        let mut backoff = Backoff::new(FIRST_INTERVAL, LONGEST_INTERVAL);
        loop {
            tokio::select! {
                // Timers first, so that a flood of responses cannot delay the end.
                biased;
                () = tokio::time::sleep_until(next) => {
                    self.send().await?;
                    next = Instant::now() + backoff.next_wait();
                    if self.is_unanswered() {
                        break;
                    }
                }
                () = tokio::time::sleep_until(end) => break,
                endpoint = self.ticket.response() => {
                    let is_new = self.collector.add(endpoint);
                    if self.mode == QueryMode::First && self.collector.has_best() {
                        break;
                    }
                    end = self.end_after_response(is_new, start, end);
                    if is_new && self.has_pages() {
                        next = next.min(Instant::now() + NEXT_PAGE);
                    }
                }
            }
        }
        self.add_announced();
        Ok(self.collector.into_sorted())
    }

    /// Returns when the query ends after a response, at the latest when the wait is over.
    fn end_after_response(&self, is_new: bool, start: Instant, end: Instant) -> Instant {
        let now = Instant::now();
        match self.mode {
            _ if !is_new => end,
            QueryMode::First => end.min(now + BETTER_SPAN),
            QueryMode::All => (start + self.wait).min(now + QUIET_SPAN),
        }
    }

    /// Returns whether there may be further instances that respond to the next transmission only.
    fn has_pages(&self) -> bool {
        self.mode == QueryMode::All && self.node.is_limited()
    }

    /// Sends the query to every destination. It is an error only if the first transmission fails
    /// everywhere: later, responses may be on their way.
    async fn send(&mut self) -> Result<(), QueryError> {
        // Each destination gets a message with its own sequence number, because a host that receives two
        // of them answers each with a different address.
        let mut messages = Vec::new();
        for target in self.node.targets().into_iter().filter(|target| self.is_due(*target)) {
            messages.push((target, self.message(target)?));
        }
        let messages: Vec<_> = messages.iter().map(|(target, text)| (*target, &**text)).collect();
        self.sent += 1;
        match self.node.multicast(&messages).await {
            Err(error) if self.sent > 1 => {
                debug!(%error, "Query not retransmitted");
                Ok(())
            }
            sent => sent.map_err(QueryError::Send),
        }
    }

    /// Returns whether the query is sent there now. For one instance, the IPv6 group beside an IPv4 group follows
    /// with the second transmission: a host on both would answer twice, with either address first.
    fn is_due(&self, target: Target) -> bool {
        let waits = self.mode == QueryMode::First && self.sent == 0;
        !(waits && self.node.link(target).is_companion && self.node.has_main_network())
    }

    fn message(&self, target: Target) -> Result<Vec<u8>, QueryError> {
        let query = ServiceQuery {
            name: self.name.cloned(),
            scopes: self.scopes.to_vec(),
            query_id: self.ticket.query_id().to_owned(),
            page: self.sent,
            all: self.mode == QueryMode::All,
        };
        let too_large = |TooLarge { size, limit }| QueryError::TooLarge { size, limit };
        let signing = &self.node.link(target).signing();
        let is_for_others = target.destination != Destination::Loopback;
        self.node.encoder.query(signing, query, self.wait, is_for_others).map_err(too_large)
    }

    /// Returns whether no response came for long enough and an earlier announcement is the result.
    fn is_unanswered(&mut self) -> bool {
        let waited = self.mode == QueryMode::First && self.sent >= MAX_UNANSWERED;
        if waited && self.collector.is_empty() {
            self.add_announced();
            return !self.collector.is_empty();
        }
        false
    }

    /// Adds instances that were announced before; in a query for one instance only without a response.
    fn add_announced(&mut self) {
        if self.mode == QueryMode::All || self.collector.is_empty() {
            let peers = self.node.peers.find(self.name, self.scopes);
            peers.iter().for_each(|endpoint| self.collector.add_known(endpoint));
        }
    }
}
