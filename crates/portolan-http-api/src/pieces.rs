//! Long JSON documents, encoded in pieces while the peer reads them.
//!
//! A reader of 20,000 endpoints would otherwise cost 60 MiB, however slowly it reads. So it costs a list of references and one
//! piece, which are reserved before, and it has to read everything within [`READ_WITHIN`], because the registry keeps the
//! endpoints as they were until then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portolan_core::{ServiceEndpoint, Vantage};
use portolan_http::{ConnectionInfo, RequestError, ResponsePermit};
use serde::Serialize;
use tokio::time::Instant;

/// The size at which a piece ends.
const PIECE: usize = 32 * 1024;
/// What a reader costs besides the references: the pieces that wait to be sent, and their copy in the connection.
const FIXED: usize = 4 * PIECE;
/// The number of endpoints from which on a document is reserved memory for, and encoded in turns. Fewer cost no more than a request
/// does.
const LONG: usize = 64;
/// How long a peer may take to read a document.
const READ_WITHIN: Duration = Duration::from_secs(120);

/// A document with a list of endpoints, as an iterator of its pieces.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// What comes before the next endpoint: the head, then commas.
    next: Vec<u8>,
    endpoints: std::vec::IntoIter<Arc<ServiceEndpoint>>,
    vantage: Vantage,
    tail: Option<String>,
    is_first: bool,
    deadline: Instant,
    _permit: Option<ResponsePermit>,
}

/// The peer took too long. The document ends without its end, and the connection with it.
#[derive(Debug, thiserror::Error)]
#[error("the peer did not read the response within {READ_WITHIN:?}")]
pub(crate) struct ReadTooSlow;

// === impl Pieces ===

impl Pieces {
    /// Creates the document `head`, the endpoints that the caller can reach, separated by commas, `tail`.
    ///
    /// # Errors
    ///
    /// [`RequestError::NoMemory`] if too many others are being read, [`RequestError::TooMany`] if too many with this identity are.
    pub(crate) fn new(
        (head, tail): (String, String),
        endpoints: Vec<Arc<ServiceEndpoint>>,
        vantage: Vantage,
        connection: &ConnectionInfo,
    ) -> Result<Self, RequestError> {
        let size = endpoints.capacity() * size_of::<Arc<ServiceEndpoint>>() + FIXED;
        let permit = is_long(&endpoints).then(|| connection.reserve(size)).transpose()?;
        Ok(Self {
            next: head.into_bytes(),
            endpoints: endpoints.into_iter(),
            vantage,
            tail: Some(tail),
            is_first: true,
            deadline: Instant::now() + READ_WITHIN,
            _permit: permit,
        })
    }

    /// Appends an endpoint, if the caller can reach it.
    fn append(&mut self, endpoint: &ServiceEndpoint) {
        let length = self.next.len();
        if !self.is_first {
            self.next.push(b',');
        }
        let encoded = match self.vantage {
            Vantage::SameHost => serde_json::to_writer(&mut self.next, endpoint),
            vantage => match endpoint.seen_from(vantage) {
                Some(seen) => serde_json::to_writer(&mut self.next, &seen),
                None => return self.next.truncate(length),
            },
        };
        match encoded {
            Ok(()) => self.is_first = false,
            Err(error) => {
                tracing::error!(%error, service_id = %endpoint.id, "Endpoint could not be serialised");
                self.next.truncate(length);
            }
        }
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, ReadTooSlow>;

    fn next(&mut self) -> Option<Self::Item> {
        self.tail.as_ref()?;
        if Instant::now() > self.deadline {
            self.tail = None;
            return Some(Err(ReadTooSlow));
        }
        while self.next.len() < PIECE {
            let Some(endpoint) = self.endpoints.next() else {
                self.next.extend(self.tail.take().unwrap_or_default().into_bytes());
                break;
            };
            self.append(&endpoint);
        }
        let piece = std::mem::replace(&mut self.next, Vec::with_capacity(PIECE + PIECE / 4));
        Some(Ok(piece.into()))
    }
}

/// Whether the document of these endpoints is a long one.
pub(crate) fn is_long(endpoints: &[Arc<ServiceEndpoint>]) -> bool {
    endpoints.len() > LONG
}

/// Encodes a document whose list of endpoints is empty, and splits it where they belong.
pub(crate) fn around<T: Serialize>(document: &T, list: &str) -> Option<(String, String)> {
    let text = serde_json::to_string(document).ok()?;
    let opening = format!("\"{list}\":[");
    let (head, tail) = text.split_once(&format!("{opening}]"))?;
    Some((format!("{head}{opening}"), format!("]{tail}")))
}

#[cfg(test)]
mod tests {
    use portolan_core::{Registration, Ttl};
    use portolan_http::{ClientLimits, HttpPolicy, Peer};
    use serde_json::{Value, json};

    use super::*;

    fn endpoints(count: u16) -> Vec<Arc<ServiceEndpoint>> {
        let endpoint = |port| {
            let host = if port % 2 == 0 { "10.0.0.7" } else { "127.0.0.1" };
            let registration =
                Registration::new("api".parse().unwrap(), host.parse().unwrap(), port);
            Arc::new(registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH))
        };
        (1..=count).map(endpoint).collect()
    }

    fn connection(limits: ClientLimits) -> ConnectionInfo {
        let peer = Peer::Unix { uid: 0, pid: None };
        let policy = HttpPolicy { clients: limits, ..HttpPolicy::default() };
        ConnectionInfo::new(peer, policy, Default::default())
    }

    fn pieces(count: u16, vantage: Vantage) -> Pieces {
        let around = around(&json!({"revision": 7, "services": []}), "services").unwrap();
        let connection = connection(ClientLimits::default());
        Pieces::new(around, endpoints(count), vantage, &connection).unwrap()
    }

    #[tokio::test]
    async fn pieces_make_the_whole_document() {
        for (count, vantage, expected) in [
            (0, Vantage::SameHost, 0),
            (1, Vantage::SameHost, 1),
            (1, Vantage::UNKNOWN, 0),
            (1000, Vantage::SameHost, 1000),
            (1000, Vantage::UNKNOWN, 500),
        ] {
            let pieces: Vec<Bytes> = pieces(count, vantage).map(Result::unwrap).collect();
            assert!(pieces.iter().all(|piece| piece.len() < 2 * PIECE));
            assert_eq!(pieces.len() > 1, count == 1000);
            let document: Value = serde_json::from_slice(&pieces.concat()).unwrap();
            assert_eq!(document["revision"], 7);
            assert_eq!(document["services"].as_array().unwrap().len(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_reads_too_slowly_is_given_up() {
        let mut pieces = pieces(1000, Vantage::SameHost);
        pieces.next().unwrap().unwrap();
        tokio::time::advance(READ_WITHIN + Duration::from_secs(1)).await;
        assert!(pieces.next().unwrap().is_err());
        assert!(pieces.next().is_none());
    }

    #[tokio::test]
    async fn memory_of_readers_is_bounded_and_given_back() {
        let limits = ClientLimits { total_response_bytes: 3 * FIXED, ..ClientLimits::default() };
        let connection = connection(limits);
        let reader = |count| {
            let around = (String::new(), String::new());
            Pieces::new(around, endpoints(count), Vantage::SameHost, &connection)
        };
        let readers: Vec<_> = (0..10).filter_map(|_| reader(1000).ok()).collect();
        assert_eq!(readers.len(), 2);
        assert_eq!(reader(1000).unwrap_err(), RequestError::NoMemory);
        reader(10).unwrap();
        drop(readers);
        reader(1000).unwrap();
    }
}
