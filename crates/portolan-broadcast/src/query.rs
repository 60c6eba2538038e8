//! Asks who has a service: asks again while answers may have been lost, and stops as soon as
//! the answer is there.

use std::time::Duration;

use portolan_core::{Backoff, Scope, ServiceEndpoint, ServiceName, ServiceQuery, Ttl};
use tokio::time::Instant;
use tracing::debug;

use crate::collector::Collector;
use crate::encoder::TooLarge;
use crate::inflight::{MAX_INFLIGHT, Ticket};
use crate::node::Node;
use crate::{QueryError, QueryMode};

/// When to ask for the second time; each further pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two askings: a service that is just starting is found this soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a first answer that is not the best possible waits for a better one.
const BETTER_SPAN: Duration = Duration::from_millis(20);
/// How long after the last new instance all are thought to have answered: twice the span that
/// holders spread their answers over.
const QUIET_SPAN: Duration = Duration::from_millis(250);
/// After how many askings without an answer what was heard before is good enough. There are
/// announcers that do not answer, as the specification knows no queries.
const PATIENCE: u32 = 3;

/// The longest wait for an answer: beyond a day a TTL ends too, and the clock stays within its range.
const MAX_WAIT: Duration = Ttl::MAX;

/// One question being asked.
struct Question<'a> {
    node: &'a Node,
    ticket: Ticket,
    name: Option<&'a ServiceName>,
    scopes: &'a [Scope],
    enough: QueryMode,
    wait: Duration,
    collector: Collector<'a>,
    asked: u32,
}

/// Asks, for at most `wait`. The answer is empty where nobody answered.
pub(crate) async fn ask(
    node: &Node,
    name: Option<&ServiceName>,
    scopes: &[Scope],
    wait: Duration,
    enough: QueryMode,
) -> Result<Vec<ServiceEndpoint>, QueryError> {
    let limit = MAX_INFLIGHT;
    let ticket = node.inflight.open().ok_or(QueryError::TooMany { limit })?;
    let collector = Collector::new(name, scopes, enough);
    let wait = wait.min(MAX_WAIT);
    let question = Question { node, ticket, name, scopes, enough, wait, collector, asked: 0 };
    tokio::select! {
        biased;
        () = node.stopped.cancelled() => Err(QueryError::Stopped),
        answer = question.ask() => answer,
    }
}

// === impl Question ===

impl Question<'_> {
    async fn ask(mut self) -> Result<Vec<ServiceEndpoint>, QueryError> {
        let start = Instant::now();
        let mut end = start + self.wait;
        let mut next = start;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            tokio::select! {
                // The clock before the answers: no flood of them can put off the end.
                biased;
                () = tokio::time::sleep_until(next) => {
                    self.send().await?;
                    next = Instant::now() + backoff.next_wait();
                    if self.has_patience_no_more() {
                        break;
                    }
                }
                () = tokio::time::sleep_until(end) => break,
                endpoint = self.ticket.answer() => {
                    let is_new = self.collector.add(endpoint);
                    if self.enough == QueryMode::First && self.collector.has_the_best() {
                        break;
                    }
                    end = self.end_after_answer(is_new, start, end);
                }
            }
        }
        self.remember();
        Ok(self.collector.into_sorted())
    }

    /// When to stop now that an answer came; never later than the whole wait.
    fn end_after_answer(&self, is_new: bool, start: Instant, end: Instant) -> Instant {
        let now = Instant::now();
        match self.enough {
            _ if !is_new => end,
            QueryMode::First => end.min(now + BETTER_SPAN),
            QueryMode::All => (start + self.wait).min(now + QUIET_SPAN),
        }
    }

    /// Sends the question to every circle. It is an error only where nothing could be sent at all,
    /// the first time: later, answers may be on their way.
    async fn send(&mut self) -> Result<(), QueryError> {
        // Each circle gets a message of its own: a machine that hears two of them must answer
        // both, as it is not the same machine to the asker in both.
        let mut messages = Vec::new();
        for &reach in self.node.transport.destinations() {
            messages.push((reach, self.message()?));
        }
        let messages: Vec<_> = messages.iter().map(|(reach, text)| (*reach, &**text)).collect();
        self.asked += 1;
        match self.node.multicast(&messages).await {
            Err(error) if self.asked > 1 => {
                debug!(%error, "cannot ask again");
                Ok(())
            }
            sent => sent.map_err(QueryError::Send),
        }
    }

    fn message(&self) -> Result<Vec<u8>, QueryError> {
        let query = ServiceQuery {
            name: self.name.cloned(),
            scopes: self.scopes.to_vec(),
            query_id: self.ticket.query_id().to_owned(),
            all: self.enough == QueryMode::All,
        };
        let too_large = |TooLarge { size, limit }| QueryError::TooLarge { size, limit };
        self.node.encoder.query(query, self.wait).map_err(too_large)
    }

    /// Whether nobody answered for long enough, and what was heard before is an answer.
    fn has_patience_no_more(&mut self) -> bool {
        let waited = self.enough == QueryMode::First && self.asked >= PATIENCE;
        if waited && self.collector.is_empty() {
            self.remember();
            return !self.collector.is_empty();
        }
        false
    }

    /// Adds what was heard before: to a first answer only where nobody answered.
    fn remember(&mut self) {
        if self.enough == QueryMode::All || self.collector.is_empty() {
            let peers = self.node.peers.find(self.name, self.scopes);
            peers.iter().for_each(|endpoint| self.collector.add_known(endpoint));
        }
    }
}
