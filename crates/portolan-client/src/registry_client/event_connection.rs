//! A connection over which the registry sends server-sent events.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::timeout;

use super::error::RegistryClientError;
use super::sse::{Decoder, Frame};

/// The read timeout. A registry sends a comment every 10 s; after three missing ones the connection
/// is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The events of one connection.
pub(super) struct EventConnection {
    response: Response,
    url: String,
    /// The name of the stream in errors.
    what: &'static str,
    /// The maximum size of an event in bytes.
    max_event: usize,
    decoder: Decoder,
    frames: VecDeque<Frame>,
}

// === impl EventConnection ===

impl EventConnection {
    pub(super) fn new(response: Response, url: String, max_event: usize) -> Self {
        let (decoder, frames) = (Decoder::new(max_event), VecDeque::new());
        Self { response, url, what: "watch", max_event, decoder, frames }
    }

    /// Sets the name of the stream in errors.
    pub(super) fn named(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Frame, RegistryClientError> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            let chunk = next_chunk(&mut self.response, &self.url, self.what).await?;
            let frames = self.decoder.feed(&chunk).map_err(|_| {
                let reason = format!("an event has more than {} bytes", self.max_event);
                RegistryClientError::bad_answer(&self.url, reason)
            })?;
            self.frames.extend(frames);
        }
    }
}

/// Reads on; the end of the stream is an error.
async fn next_chunk(
    response: &mut Response,
    url: &str,
    what: &str,
) -> Result<Bytes, RegistryClientError> {
    let unreachable = |reason: String| RegistryClientError::unreachable(url, reason);
    timeout(READ_TIMEOUT, response.chunk())
        .await
        .map_err(|_| unreachable(format!("the {what} has gone silent")))?
        .map_err(|error| RegistryClientError::in_transit(url, &error))?
        .ok_or_else(|| unreachable(format!("the registry ended the {what}")))
}
