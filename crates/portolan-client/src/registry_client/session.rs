//! The session of an instance: a connection that its agent keeps open as long as it lives.

use std::fmt;

use portolan_core::ServiceId;
use reqwest::Method;
use serde::Deserialize;

use super::client::RegistryClient;
use super::error::RegistryClientError;
use super::event_connection::EventConnection;

/// The maximum size of an event in bytes.
const MAX_EVENT: usize = 4096;

/// A session of an instance. The registry asks the instance's address as soon as it is dropped, and when this process ends.
pub struct RegistrySession(EventConnection);

/// What an event `settings` says.
#[derive(Deserialize)]
struct SettingsNews {
    version: u64,
}

// === impl RegistryClient ===

impl RegistryClient {
    /// Opens a session of an instance, with the right to renew its lease. Fails with
    /// [`RegistryClientError::UnknownService`] for an unknown id, and with a registry that knows no sessions.
    pub async fn session(&self, id: &ServiceId) -> Result<RegistrySession, RegistryClientError> {
        let request = self.owned(Method::POST, id, Some("session"));
        let response = self.send_for(id, request).await?;
        let url = response.url().to_owned();
        let events = EventConnection::new(response.into_event_stream()?, url, MAX_EVENT);
        Ok(RegistrySession(events.named("session")))
    }
}

// === impl RegistrySession ===

impl RegistrySession {
    /// Waits until the settings of the service have another version, and returns it: the first one is that of now, if there are
    /// settings. An error is the end of the session, and why. The registry ends it when the instance is no longer registered by
    /// this incarnation, and at its own end. Cancel-safe.
    pub async fn settings_changed(&mut self) -> Result<u64, RegistryClientError> {
        loop {
            let event = self.0.next().await?;
            if event.kind != "settings" {
                continue;
            }
            let news: Result<SettingsNews, _> = serde_json::from_str(&event.data);
            return news
                .map(|news| news.version)
                .map_err(|error| RegistryClientError::bad_answer(self.0.url(), error.to_string()));
        }
    }
}

impl fmt::Debug for RegistrySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrySession").field("url", &self.0.url()).finish_non_exhaustive()
    }
}
