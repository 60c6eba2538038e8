//! A watch of the registry over one connection.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use portolan_core::{ServiceEvent, Vantage};
use reqwest::Response;
use tokio::time::timeout;

use super::error::RegistryClientError;
use super::sse::{Decoder, Frame};

/// The maximum size of an event in bytes: a snapshot of a hundred thousand endpoints.
const MAX_EVENT: usize = 64 << 20;
/// The read timeout. A registry sends a comment every 10 s; after three missing ones the connection
/// is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The known kinds of events; others, of a newer registry, are ignored.
const KINDS: [&str; 6] = ["snapshot", "registered", "updated", "health", "deregistered", "expired"];

/// A stream of changes over one connection. It ends after an error.
pub struct RegistryWatch(BoxStream<'static, Result<ServiceEvent, RegistryClientError>>);

struct Connection {
    response: Response,
    url: String,
    vantage: Vantage,
    decoder: Decoder,
    frames: VecDeque<Frame>,
    over: bool,
}

// === impl RegistryWatch ===

impl RegistryWatch {
    pub(super) fn new(response: Response, url: String, vantage: Vantage) -> Self {
        let (decoder, frames) = (Decoder::new(MAX_EVENT), VecDeque::new());
        let connection = Connection { response, url, vantage, decoder, frames, over: false };
        let events = stream::unfold(connection, |mut connection| async move {
            let event = connection.next().await?;
            Some((event, connection))
        });
        Self(events.boxed())
    }
}

impl Stream for RegistryWatch {
    type Item = Result<ServiceEvent, RegistryClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for RegistryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryWatch").finish_non_exhaustive()
    }
}

// === impl Connection ===

impl Connection {
    async fn next(&mut self) -> Option<Result<ServiceEvent, RegistryClientError>> {
        while !self.over {
            while let Some(frame) = self.frames.pop_front() {
                if !KINDS.contains(&frame.kind.as_str()) {
                    continue;
                }
                match self.event(&frame) {
                    Ok(event) => {
                        if let Some(change) = event.change.seen_from(self.vantage) {
                            return Some(Ok(ServiceEvent { change, ..event }));
                        }
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
            if let Err(error) = self.read().await {
                self.over = true;
                return Some(Err(error));
            }
        }
        None
    }

    fn event(&mut self, frame: &Frame) -> Result<ServiceEvent, RegistryClientError> {
        serde_json::from_str(&frame.data).map_err(|error| {
            self.over = true;
            RegistryClientError::bad_answer(&self.url, format!("a {:?} event: {error}", frame.kind))
        })
    }

    async fn read(&mut self) -> Result<(), RegistryClientError> {
        let url = &self.url;
        let silent = |_| RegistryClientError::unreachable(url, "the watch has gone silent");
        let chunk = timeout(READ_TIMEOUT, self.response.chunk())
            .await
            .map_err(silent)?
            .map_err(|error| RegistryClientError::in_transit(url, &error))?
            .ok_or_else(|| RegistryClientError::unreachable(url, "the registry ended the watch"))?;
        let frames = self.decoder.feed(&chunk).map_err(|_| {
            RegistryClientError::bad_answer(
                url,
                format!("an event has more than {MAX_EVENT} bytes"),
            )
        })?;
        self.frames.extend(frames);
        Ok(())
    }
}
