//! Keeps this server among the live ones: a session of Consul, and a key that it locks.
//!
//! Others take over the leases of a server when its key is gone, which Consul deletes when the session ends. A session
//! lasts for its TTL at least after it was renewed; so a server that has renewed it lately knows that no other server
//! has taken over its leases, and answers heartbeats by itself.

use std::time::{Duration, SystemTime};

use portolan_consul::{ConsulError, ConsulSession, KvTransaction};
use portolan_core::Remedy;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Shared;
use crate::store::remote::ServerValue;

/// The TTL of a session, the shortest one that Consul permits. It ends up to as long again after it.
const SESSION: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(250);
/// How long after its session was renewed a server answers heartbeats. Less than the TTL of the session.
const CONFIRMED: Duration = Duration::from_secs(5);

/// The membership of this server.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) session: ConsulSession,
    /// When its renewal, or its creation, was requested last: by the clock of Tokio, which stands still while the machine
    /// is suspended, and by the time of day, which can be set.
    confirmed: (Instant, SystemTime),
}

// === impl Member ===

impl Member {
    /// Whether Consul still keeps the session.
    fn is_confirmed(&self) -> bool {
        let (at, wall) = self.confirmed;
        at.elapsed() < CONFIRMED && wall.elapsed().is_ok_and(|age| age < CONFIRMED)
    }
}

// === impl Shared ===

impl Shared {
    /// Keeps this server among the live ones, for ever.
    pub(super) async fn keep_membership(&self) {
        // Nothing is written to a prefix that is not known to be a registry's.
        _ = self.progress.subscribe().wait_for(|index| *index > 0).await;
        let mut is_warned = false;
        loop {
            let wait = match self.renew_membership().await {
                Ok(()) => {
                    is_warned = false;
                    RENEW
                }
                // The feed reports it.
                Err(error) if error.is_unreachable() => RETRY,
                Err(error) => {
                    if !std::mem::replace(&mut is_warned, true) {
                        let error = error.with_remedy();
                        warn!(%error, "Membership in Consul not renewed, so heartbeats are rejected");
                    }
                    RETRY
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn renew_membership(&self) -> Result<(), ConsulError> {
        let node = self.agent.lock().as_ref().map(|agent| agent.node.clone()).unwrap_or_default();
        let confirmed = (Instant::now(), SystemTime::now());
        let held = self.member.lock().clone();
        let session = match held {
            Some(member) => match self.client.renew_session(&member.session).await {
                Err(ConsulError::SessionGone) => None,
                renewed => renewed.map(|()| Some(member.session))?,
            },
            None => None,
        };
        let is_live = self.replica.lock().is_live(self.server);
        let session = match session {
            Some(session) if is_live => session,
            Some(session) => self.join(session, &node).await?,
            None => {
                let session = self.client.create_session("portolan", SESSION).await?;
                self.join(session, &node).await?
            }
        };
        *self.member.lock() = Some(Member { session, confirmed });
        Ok(())
    }

    /// Writes this server's key. Others may have taken over its leases before, and have not ended them.
    async fn join(&self, session: ConsulSession, node: &str) -> Result<ConsulSession, ConsulError> {
        *self.member.lock() = None;
        let value = ServerValue::own(Some(node.to_owned()), self.advertise_url.clone());
        let key = self.keys.server(self.server);
        let lock = KvTransaction::default().lock(&key, &value.encode(), &session);
        if self.client.transact(&lock).await?.is_none() {
            // A session of this server that has not ended yet holds it; or this one has ended.
            _ = self.client.end_session(&session).await;
            return Err(ConsulError::SessionGone);
        }
        self.replica.lock().extend_leases();
        info!(server = format!("{:016x}", self.server.0), "Joined the servers over Consul");
        Ok(session)
    }

    /// The session of this server, if no other server can have taken over its leases.
    pub(super) fn confirmed_session(&self) -> Option<ConsulSession> {
        let member = self.member.lock().clone()?;
        let is_live = self.replica.lock().is_live(self.server);
        (is_live && member.is_confirmed()).then_some(member.session)
    }

    pub(super) async fn end_membership(&self) {
        let held = self.member.lock().take();
        if let Some(member) = held {
            _ = self.client.end_session(&member.session).await;
        }
    }
}
