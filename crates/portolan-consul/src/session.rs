//! Sessions: what proves to others that this process is alive.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::client::Call;
use crate::{ConsulClient, ConsulError};

/// A session of Consul.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConsulSession(pub String);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Create<'a> {
    name: &'a str,
    #[serde(rename = "TTL")]
    ttl: String,
    lock_delay: &'static str,
    behavior: &'static str,
    /// Without the health of the node: only the TTL ends the session.
    node_checks: [&'static str; 0],
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "ID")]
    id: ConsulSession,
}

// === impl ConsulClient ===

impl ConsulClient {
    /// Creates a session. When it ends, the keys that it holds are deleted, and can be locked again at once.
    ///
    /// # Errors
    ///
    /// If Consul does not answer or denies the access.
    pub async fn create_session(
        &self,
        name: &str,
        ttl: Duration,
    ) -> Result<ConsulSession, ConsulError> {
        let ttl = format!("{}s", ttl.as_secs());
        let session = Create { name, ttl, lock_delay: "0s", behavior: "delete", node_checks: [] };
        let created: Created =
            self.send(Call::put("session/create").json(&session)).await?.json()?;
        Ok(created.id)
    }

    /// Gives a session its full TTL again.
    ///
    /// # Errors
    ///
    /// [`ConsulError::SessionGone`] if it has ended; otherwise if Consul does not answer or denies the access.
    pub async fn renew_session(&self, session: &ConsulSession) -> Result<(), ConsulError> {
        let answer = self.send(Call::put(format!("session/renew/{}", session.0))).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(ConsulError::SessionGone);
        }
        answer.done()
    }

    /// Ends a session.
    ///
    /// # Errors
    ///
    /// If Consul does not answer or denies the access.
    pub async fn end_session(&self, session: &ConsulSession) -> Result<(), ConsulError> {
        self.send(Call::put(format!("session/destroy/{}", session.0))).await?.done()
    }
}
