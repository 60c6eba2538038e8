//! The queries in flight, and the delivery of responses to them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use portolan_core::ServiceEndpoint;
use tokio::sync::mpsc;

use crate::encoder::random_text;

/// The maximum number of queries in flight.
pub(crate) const MAX_INFLIGHT: usize = 4096;
/// How many queries are remembered after their end: late answers come within milliseconds.
const MAX_ENDED: usize = 256;
/// The number of responses buffered for a query; further ones are dropped.
const BACKLOG: usize = 256;

/// The queries in flight by id.
#[derive(Debug, Default)]
pub(crate) struct Inflight(Mutex<Queries>);

#[derive(Debug, Default)]
struct Queries {
    waiting: HashMap<String, mpsc::Sender<ServiceEndpoint>>,
    /// The latest queries that wait no longer, to tell their late answers from unasked ones.
    ended: VecDeque<String>,
}

/// A query in flight; dropping it ends the query.
#[derive(Debug)]
pub(crate) struct Ticket {
    inflight: Arc<Inflight>,
    query_id: String,
    responses: mpsc::Receiver<ServiceEndpoint>,
}

// === impl Inflight ===

impl Inflight {
    /// Opens a query with a random id, or returns `None` if too many are in flight. Only processes that
    /// received the query know its id.
    pub(crate) fn open(self: &Arc<Self>) -> Option<Ticket> {
        let (sender, responses) = mpsc::channel(BACKLOG);
        let query_id = random_text();
        let mut queries = self.0.lock();
        if queries.waiting.len() >= MAX_INFLIGHT {
            return None;
        }
        queries.waiting.insert(query_id.clone(), sender);
        Some(Ticket { inflight: Arc::clone(self), query_id, responses })
    }

    /// Returns whether the query is in flight.
    pub(crate) fn is_waiting(&self, query_id: &str) -> bool {
        self.0.lock().waiting.contains_key(query_id)
    }

    /// Whether such a query has waited not long ago.
    pub(crate) fn has_ended(&self, query_id: &str) -> bool {
        self.0.lock().ended.iter().any(|ended| ended == query_id)
    }

    /// Delivers a response to its query. False if the query has ended, or its buffer is full.
    pub(crate) fn deliver(&self, query_id: &str, endpoint: ServiceEndpoint) -> bool {
        let queries = self.0.lock();
        queries.waiting.get(query_id).is_some_and(|query| query.try_send(endpoint).is_ok())
    }
}

// === impl Ticket ===

impl Ticket {
    /// Returns the id of the query in messages.
    pub(crate) fn query_id(&self) -> &str {
        &self.query_id
    }

    /// Receives the next response.
    pub(crate) async fn response(&mut self) -> ServiceEndpoint {
        match self.responses.recv().await {
            Some(endpoint) => endpoint,
            // Unreachable: the table keeps the sender until the ticket is dropped.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queries = self.inflight.0.lock();
        queries.waiting.remove(&self.query_id);
        if queries.ended.len() >= MAX_ENDED {
            queries.ended.pop_front();
        }
        queries.ended.push_back(std::mem::take(&mut self.query_id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_queries_in_flight_is_bounded_and_dropping_one_makes_room() {
        let inflight = Arc::new(Inflight::default());
        let mut tickets: Vec<_> = (0..MAX_INFLIGHT).map_while(|_| inflight.open()).collect();
        assert_eq!(tickets.len(), MAX_INFLIGHT);
        assert!(inflight.open().is_none());
        let dropped = tickets.pop().unwrap().query_id().to_owned();
        assert!(!inflight.is_waiting(&dropped) && inflight.has_ended(&dropped));
        assert!(!inflight.has_ended(tickets[0].query_id()));
        assert!(inflight.open().is_some());
    }
}
