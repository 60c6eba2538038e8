//! Watches of a range of keys.

use tokio::sync::mpsc;
use tonic::Streaming;

use crate::messages::{
    KeyValue, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse, WatchedEvent,
};
use crate::{EtcdClient, EtcdError, KeyRange};

/// The largest number of events that are collected until their revisions are complete.
const MAX_EVENTS: usize = 1_000_000;
/// The id in the answer to a request for progress.
const ALL_WATCHES: i64 = -1;

/// A watch of a range. Dropping it ends it.
#[derive(Debug)]
pub struct EtcdWatch {
    url: String,
    responses: Streaming<WatchResponse>,
    requests: mpsc::Sender<WatchRequest>,
    first: Option<WatchResponse>,
    /// The events of a response that arrives in fragments.
    events: Vec<EtcdEvent>,
}

/// Asks the member of a watch how far it has come.
#[derive(Debug, Clone)]
pub struct ProgressRequests(mpsc::Sender<WatchRequest>);

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchItem {
    /// Events, or that there are none.
    Batch(WatchBatch),
    /// The answer to [`ProgressRequests::request`]: the member has applied everything up to this revision.
    Progress(i64),
}

/// Every event up to a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchBatch {
    /// The events, in order. Those of one revision are in one batch.
    pub events: Vec<EtcdEvent>,
    /// The revision up to which all events have been delivered.
    pub revision: i64,
}

/// A change of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum EtcdEvent {
    /// The key was written.
    Put(KeyValue),
    /// The key was deleted, by a request or by the end of its lease. It has no value.
    Deleted(KeyValue),
}

// === impl EtcdClient ===

impl EtcdClient {
    /// Watches a range from a revision on.
    ///
    /// # Errors
    ///
    /// [`EtcdError::Compacted`] if the history from there on is gone.
    pub async fn watch(&self, range: &KeyRange, from: i64) -> Result<EtcdWatch, EtcdError> {
        let (key, range_end) = (range.first.clone(), range.end.clone());
        let create = Some(WatchCreateRequest {
            key,
            range_end,
            start_revision: from,
            progress_notify: true,
            fragment: true,
        });
        let stream = self
            .stream("/etcdserverpb.Watch/Watch", WatchRequest { create, progress: None })
            .await?;
        Ok(EtcdWatch {
            url: stream.url,
            responses: stream.responses,
            requests: stream.requests,
            first: Some(stream.first),
            events: Vec::new(),
        })
    }
}

// === impl EtcdWatch ===

impl EtcdWatch {
    /// Returns what asks the member of this watch how far it has come.
    pub fn progress_requests(&self) -> ProgressRequests {
        ProgressRequests(self.requests.clone())
    }

    /// Waits for the next events, for the notification that there are none up to a revision, or for the answer to a
    /// request. Cancel-safe.
    pub async fn next(&mut self) -> Result<WatchItem, EtcdError> {
        loop {
            let response = match self.first.take() {
                Some(first) => Some(first),
                None => self.responses.message().await.map_err(|status| self.error(&status))?,
            };
            let reason = "the watch ended";
            let response = response.ok_or_else(|| self.unreachable(reason))?;
            if let Some(item) = self.take(response)? {
                return Ok(item);
            }
        }
    }

    fn take(&mut self, response: WatchResponse) -> Result<Option<WatchItem>, EtcdError> {
        if response.watch_id == ALL_WATCHES && !response.canceled {
            return Ok(Some(WatchItem::Progress(response.header.unwrap_or_default().revision)));
        }
        if response.compact_revision > 0 {
            return Err(EtcdError::Compacted);
        }
        if response.canceled {
            let reason = response.cancel_reason;
            return Err(if reason.contains("permission") {
                EtcdError::Denied(reason)
            } else {
                self.unreachable(&reason)
            });
        }
        self.events.extend(response.events.into_iter().filter_map(EtcdEvent::from_message));
        if self.events.len() > MAX_EVENTS {
            return Err(EtcdError::Rejected("too many events in one response of a watch".into()));
        }
        if response.fragment || response.created && self.events.is_empty() {
            return Ok(None);
        }
        let events = std::mem::take(&mut self.events);
        // The revision in the header may be ahead of the events, except in a notification without events.
        let revision = match events.last() {
            Some(event) => event.key_value().mod_revision,
            None => response.header.unwrap_or_default().revision,
        };
        Ok(Some(WatchItem::Batch(WatchBatch { events, revision })))
    }

    fn error(&self, status: &tonic::Status) -> EtcdError {
        EtcdError::from_status(&self.url, status)
    }

    fn unreachable(&self, reason: &str) -> EtcdError {
        EtcdError::Unreachable { url: self.url.clone(), reason: reason.to_owned() }
    }
}

// === impl ProgressRequests ===

impl ProgressRequests {
    /// Asks how far the member has come. The watch delivers the answer, a [`WatchItem::Progress`]; there may be none.
    ///
    /// The answer is no position to resume from: before etcd 3.4.25 and 3.5.8 it can overtake events that are on their
    /// way (etcd issue 15220).
    pub fn request(&self) {
        let request = WatchRequest { create: None, progress: Some(WatchProgressRequest {}) };
        // If the queue is full, a request is already on its way.
        _ = self.0.try_send(request);
    }
}

// === impl EtcdEvent ===

impl EtcdEvent {
    /// The key, and its value after a write.
    pub fn key_value(&self) -> &KeyValue {
        match self {
            Self::Put(kv) | Self::Deleted(kv) => kv,
        }
    }

    fn from_message(event: WatchedEvent) -> Option<Self> {
        let kv = event.kv?;
        Some(if event.kind == 0 { Self::Put(kv) } else { Self::Deleted(kv) })
    }
}
