//! The session of an instance: a connection that its agent keeps open as long as it lives.

use std::fmt;

use portolan_core::ServiceId;
use reqwest::{Method, Response};

use super::client::RegistryClient;
use super::error::RegistryClientError;
use super::event_connection::next_chunk;

/// A session of an instance. The registry asks the instance's address as soon as it is dropped, and when this process ends.
pub struct RegistrySession {
    response: Response,
    url: String,
}

// === impl RegistryClient ===

impl RegistryClient {
    /// Opens a session of an instance, with the right to renew its lease. Fails with
    /// [`RegistryClientError::UnknownService`] for an unknown id, and with a registry that knows no sessions.
    pub async fn session(&self, id: &ServiceId) -> Result<RegistrySession, RegistryClientError> {
        let request = self.owned(Method::POST, id, Some("session"));
        let response = self.send_for(id, request).await?;
        let url = response.url().to_owned();
        Ok(RegistrySession { response: response.into_event_stream()?, url })
    }
}

// === impl RegistrySession ===

impl RegistrySession {
    /// Waits until the session ends, and returns why. The registry ends it when the instance is no longer registered by this
    /// incarnation, and at its own end. Cancel-safe.
    pub async fn ended(&mut self) -> RegistryClientError {
        loop {
            if let Err(error) = next_chunk(&mut self.response, &self.url, "session").await {
                return error;
            }
        }
    }
}

impl fmt::Debug for RegistrySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrySession").field("url", &self.url).finish_non_exhaustive()
    }
}
