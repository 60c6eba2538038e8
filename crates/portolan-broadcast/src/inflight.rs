//! The queries that wait for answers, and the way from an answer to its query.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use portolan_core::ServiceEndpoint;
use tokio::sync::mpsc;

use crate::encoder::random_text;

/// How many queries may wait at once.
pub(crate) const MAX_INFLIGHT: usize = 4096;
/// How many answers wait for their query to take them; further ones are lost.
const BACKLOG: usize = 256;

/// All waiting queries, by id.
#[derive(Debug, Default)]
pub(crate) struct Inflight(Mutex<HashMap<String, mpsc::Sender<ServiceEndpoint>>>);

/// One waiting query; it waits no longer when this goes.
#[derive(Debug)]
pub(crate) struct Ticket {
    inflight: Arc<Inflight>,
    query_id: String,
    answers: mpsc::Receiver<ServiceEndpoint>,
}

// === impl Inflight ===

impl Inflight {
    /// Room for one more query, or none. Nobody who was not asked can guess its id.
    pub(crate) fn open(self: &Arc<Self>) -> Option<Ticket> {
        let (sender, answers) = mpsc::channel(BACKLOG);
        let query_id = random_text();
        let mut waiting = self.0.lock();
        if waiting.len() >= MAX_INFLIGHT {
            return None;
        }
        waiting.insert(query_id.clone(), sender);
        Some(Ticket { inflight: Arc::clone(self), query_id, answers })
    }

    /// Whether such a query waits.
    pub(crate) fn is_waiting(&self, query_id: &str) -> bool {
        self.0.lock().contains_key(query_id)
    }

    /// Hands an answer to its query. False where the query is too slow, or gone.
    pub(crate) fn answer(&self, query_id: &str, endpoint: ServiceEndpoint) -> bool {
        let waiting = self.0.lock();
        waiting.get(query_id).is_some_and(|query| query.try_send(endpoint).is_ok())
    }
}

// === impl Ticket ===

impl Ticket {
    /// What names the query on the channel.
    pub(crate) fn query_id(&self) -> &str {
        &self.query_id
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> ServiceEndpoint {
        match self.answers.recv().await {
            Some(endpoint) => endpoint,
            // Cannot be: the sender stays in the table until this ticket goes.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.inflight.0.lock().remove(&self.query_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_queries_wait_at_once_and_room_comes_back() {
        let inflight = Arc::new(Inflight::default());
        let mut tickets: Vec<_> = (0..MAX_INFLIGHT).map_while(|_| inflight.open()).collect();
        assert_eq!(tickets.len(), MAX_INFLIGHT);
        assert!(inflight.open().is_none());
        let gone = tickets.pop().unwrap().query_id().to_owned();
        assert!(!inflight.is_waiting(&gone));
        assert!(inflight.open().is_some());
    }
}
