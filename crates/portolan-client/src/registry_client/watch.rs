//! A watch of the registry over one connection.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use portolan_core::{Revision, ServiceEvent, Vantage};
use reqwest::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::RegistryClientError;
use super::event_connection::EventConnection;
use super::sse::Frame;

/// The maximum size of an event in bytes: a snapshot of a hundred thousand endpoints.
const MAX_EVENT: usize = 64 << 20;
/// The known kinds of events; others, of a newer registry, are ignored.
const KINDS: [&str; 6] = ["snapshot", "registered", "updated", "health", "deregistered", "expired"];

/// The kind of a message that only says that nothing was missed.
const BOOKMARK: &str = "bookmark";

/// A stream of changes over one connection. It ends after an error.
pub struct RegistryWatch(BoxStream<'static, Result<Received, RegistryClientError>>);

/// What a watch receives.
#[derive(Debug)]
pub(super) enum Received {
    Event(ServiceEvent),
    /// The watch has missed nothing up to this revision: a bookmark, or a change that does not concern this host.
    Nothing(Revision),
}

/// The data of a bookmark.
#[derive(Deserialize)]
struct Bookmark {
    revision: Revision,
}

struct Connection {
    events: EventConnection,
    vantage: Vantage,
    over: bool,
}

// === impl RegistryWatch ===

impl RegistryWatch {
    pub(super) fn new(response: Response, url: String, vantage: Vantage) -> Self {
        let events = EventConnection::new(response, url, MAX_EVENT);
        let connection = Connection { events, vantage, over: false };
        let events = stream::unfold(connection, |mut connection| async move {
            let event = connection.next().await?;
            Some((event, connection))
        });
        Self(events.boxed())
    }

    /// Waits for what comes next, which may be no event.
    pub(super) async fn receive(&mut self) -> Option<Result<Received, RegistryClientError>> {
        self.0.next().await
    }
}

impl Stream for RegistryWatch {
    type Item = Result<ServiceEvent, RegistryClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(self.0.poll_next_unpin(cx)) {
                Some(Ok(Received::Event(event))) => Some(Ok(event)),
                Some(Ok(Received::Nothing(_))) => continue,
                Some(Err(error)) => Some(Err(error)),
                None => None,
            });
        }
    }
}

impl fmt::Debug for RegistryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryWatch").finish_non_exhaustive()
    }
}

// === impl Connection ===

impl Connection {
    async fn next(&mut self) -> Option<Result<Received, RegistryClientError>> {
        while !self.over {
            let frame = match self.events.next().await {
                Ok(frame) => frame,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            };
            if frame.kind == BOOKMARK {
                let bookmark = self.parse::<Bookmark>(&frame);
                return Some(bookmark.map(|bookmark| Received::Nothing(bookmark.revision)));
            }
            if KINDS.contains(&frame.kind.as_str()) {
                return Some(self.parse(&frame).map(|event| self.seen(event)));
            }
        }
        None
    }

    /// The event as this host sees it.
    fn seen(&self, ServiceEvent { revision, change }: ServiceEvent) -> Received {
        match change.seen_from(self.vantage) {
            Some(change) => Received::Event(ServiceEvent { revision, change }),
            None => Received::Nothing(revision),
        }
    }

    fn parse<T: DeserializeOwned>(&mut self, frame: &Frame) -> Result<T, RegistryClientError> {
        serde_json::from_str(&frame.data).map_err(|error| {
            self.over = true;
            RegistryClientError::bad_answer(
                self.events.url(),
                format!("a {:?} event: {error}", frame.kind),
            )
        })
    }
}
