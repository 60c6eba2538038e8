//! The session of the service with the registry, which ends with this process, however it ends.

use std::fmt;
use std::time::Duration;

use portolan_client::{RegistryClient, RegistryClientError, RegistrySession};
use portolan_core::ServiceId;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::backoff::with_jitter;

/// The longest pause after a session has ended, so that the agents of a server that ends do not all ask the next one at the
/// same moment.
const SPREAD: Duration = Duration::from_millis(100);

/// How long after the begin of a session the next one begins at the earliest: a server may end each at once.
const SHORTEST: Duration = Duration::from_secs(1);

/// Keeps a session open.
pub(crate) struct SessionLink(State);

/// What a session says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionNews {
    /// It has ended against the will of this process.
    Ended,
    /// The settings of the service have this version.
    Settings(u64),
}

enum State {
    Closed {
        retry_at: Instant,
    },
    /// A task, because dropping a request that has been sent would not undo it.
    Opening(AbortOnDropHandle<Result<RegistrySession, RegistryClientError>>),
    Open {
        session: Box<RegistrySession>,
        since: Instant,
    },
}

// === impl SessionLink ===

impl SessionLink {
    pub(crate) fn new() -> Self {
        Self(State::Closed { retry_at: Instant::now() })
    }

    /// Closes the session; the next one is opened when it is needed.
    pub(crate) fn close(&mut self) {
        *self = Self::new();
    }

    /// Holds a session until it says something. One that cannot be opened is tried again after `retry`.
    /// Cancel-safe: the session stays open.
    pub(crate) async fn hold(
        &mut self,
        client: &RegistryClient,
        id: &ServiceId,
        retry: Duration,
    ) -> SessionNews {
        loop {
            self.0 = match &mut self.0 {
                State::Closed { retry_at } => {
                    sleep_until(*retry_at).await;
                    let (client, id) = (client.clone(), id.clone());
                    let opening = tokio::spawn(async move { client.session(&id).await });
                    State::Opening(AbortOnDropHandle::new(opening))
                }
                State::Opening(opening) => match opening.await {
                    Ok(Ok(session)) => {
                        debug!(service_id = %id, "Session opened");
                        State::Open { session: Box::new(session), since: Instant::now() }
                    }
                    Ok(Err(error)) => {
                        debug!(service_id = %id, %error, "Session not opened, trying again");
                        State::later(with_jitter(retry))
                    }
                    Err(error) => {
                        warn!(service_id = %id, %error, "Session not opened, trying again");
                        State::later(retry)
                    }
                },
                State::Open { session, since } => {
                    let error = match session.settings_changed().await {
                        Ok(version) => return SessionNews::Settings(version),
                        Err(error) => error,
                    };
                    debug!(service_id = %id, %error, "Session ended");
                    let pause = SHORTEST.saturating_sub(since.elapsed());
                    self.0 = State::later(pause);
                    sleep(with_jitter(SPREAD)).await;
                    return SessionNews::Ended;
                }
            };
        }
    }
}

// === impl State ===

impl State {
    fn later(pause: Duration) -> Self {
        Self::Closed { retry_at: Instant::now() + pause }
    }
}

impl fmt::Debug for SessionLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            State::Closed { .. } => "closed",
            State::Opening(_) => "opening",
            State::Open { .. } => "open",
        };
        f.debug_tuple("SessionLink").field(&state).finish()
    }
}
