//! Whether a registry is ready, and what it cannot do at the moment.

use reqwest::Method;
use serde::Deserialize;

use super::client::RegistryClient;
use super::error::RegistryClientError;

/// Whether a registry is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// It serves reads and commands.
    Ready,
    /// It serves reads, heartbeats and health reports; registrations and deregistrations are rejected.
    ReadOnly {
        /// Why.
        reason: String,
    },
    /// It is not ready, as when it has lost its store. Reads return what it knew.
    NotReady {
        /// Why.
        reason: String,
    },
}

/// The body of `/readyz`.
#[derive(Deserialize)]
struct Condition {
    status: String,
    read_only: Option<String>,
}

// === impl RegistryClient ===

impl RegistryClient {
    /// Asks whether the registry is ready; of several servers, the one that is used at the moment.
    pub async fn readiness(&self) -> Result<Readiness, RegistryClientError> {
        let response = self.send(self.request_at(Method::GET, &["readyz"])).await?;
        let response = match response.accepted() {
            Err(RegistryClientError::Refused { status: 503, detail, .. }) => {
                return Ok(Readiness::NotReady { reason: detail });
            }
            accepted => accepted?,
        };
        let url = response.url().to_owned();
        match response.json::<Condition>().await? {
            Condition { status, read_only } if status == "ready" => Ok(match read_only {
                Some(reason) => Readiness::ReadOnly { reason },
                None => Readiness::Ready,
            }),
            Condition { status, .. } => {
                Err(RegistryClientError::bad_answer(&url, format!("/readyz says {status:?}")))
            }
        }
    }
}
