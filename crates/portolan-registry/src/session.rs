//! The identity of a session: the connection that an agent keeps open as long as it lives.
//!
//! A session ends with its agent, and the server that held it then asks whether the instance is gone. Meanwhile the agent may
//! hold another session, at this server or at another one over the same store. The store therefore keeps the newest session of
//! each instance with its owner, and the end of an older one changes nothing.

use std::fmt;

use portolan_core::Incarnation;
use serde::{Deserialize, Serialize};

/// A random number that a server chooses for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentSessionId(Incarnation);

// === impl AgentSessionId ===

impl AgentSessionId {
    /// Returns the id of a new session.
    pub fn random() -> Self {
        Self(Incarnation::random())
    }
}

impl fmt::Display for AgentSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
