//! The messages of the broadcast channel, as they stand in a datagram.
//!
//! The members and their names are those of the specification; `sender`, `sequence`, `key_id` and
//! `in_reply_to` are additions that a listener may ignore.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Scope, ServiceEndpoint, ServiceName, Ttl};

/// The version of the protocol that this crate speaks.
pub const VERSION: &str = "1.0";

/// One datagram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The protocol's version.
    #[serde(default = "version")]
    pub version: String,
    /// What it says.
    #[serde(flatten)]
    pub body: Body,
    /// When it was sent.
    pub timestamp: Timestamp,
    /// How long it holds.
    pub ttl: Ttl,
    /// A random number that the sender drew when it started, as hex: tells one sender, and one
    /// life of a sender, from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Counts the sender's messages, so that a replay is told from a repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Which key signed it, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Lowercase hex of HMAC-SHA256 over the canonical JSON (RFC 8785) of the message without
    /// this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// "Here is an instance", "it is going", "it changed", "it is still there".
    ServiceAnnouncement(Box<ServiceAnnouncement>),
    /// "Who has an instance of this name?"
    ServiceQuery(ServiceQuery),
}

/// News of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceAnnouncement {
    /// What happened to it.
    #[serde(default)]
    pub action: Action,
    /// The instance.
    pub service: ServiceEndpoint,
    /// The query that this answers, where it answers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
}

/// A question to all who hear it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceQuery {
    /// The service asked for; all of them where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ServiceName>,
    /// The scopes asked about; all of them where it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// Names this query; an answer repeats it as `in_reply_to`.
    pub query_id: String,
    /// Whether every instance is asked for, the critical ones too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
}

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It comes online.
    #[default]
    Register,
    /// It goes offline, in good order.
    Deregister,
    /// Its description changed.
    Update,
    /// It is still there.
    Heartbeat,
}

/// A text that is none of the four actions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an action; use register, deregister, update or heartbeat")]
pub struct InvalidAction(String);

// === impl Action ===

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Register, Self::Deregister, Self::Update, Self::Heartbeat];

    /// The action as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Deregister => "deregister",
            Self::Update => "update",
            Self::Heartbeat => "heartbeat",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Action {
    type Err = InvalidAction;

    fn from_str(text: &str) -> Result<Self, InvalidAction> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| InvalidAction(text.chars().take(40).collect()))
    }
}

fn version() -> String {
    VERSION.to_owned()
}

// serde hands `skip_serializing_if` a reference.
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message of the specification, section "Broadcast Message Format".
    const SPECIFIED: &str = r#"{
      "version": "1.0",
      "type": "service_announcement",
      "action": "register",
      "service": {
        "id": "postgres-primary-abc123",
        "name": "postgres-primary",
        "host": "192.168.1.100",
        "port": 5434,
        "protocol": "tcp",
        "version": "16.0",
        "metadata": {"database": "helixcode", "sslmode": "disable", "max_connections": "100"},
        "health_url": "http://192.168.1.100:5434/health"
      },
      "timestamp": "2025-11-07T12:00:00Z",
      "ttl": 60,
      "signature": "sha256_hash_for_verification"
    }"#;

    #[test]
    fn the_specified_message_is_understood() {
        let message: Message = serde_json::from_str(SPECIFIED).unwrap();
        assert_eq!(message.ttl, Ttl::DEFAULT);
        let Body::ServiceAnnouncement(announcement) = message.body else {
            panic!("not an announcement");
        };
        assert_eq!(announcement.action, Action::Register);
        assert_eq!(announcement.service.address(), "192.168.1.100:5434");
        assert_eq!(announcement.service.metadata["database"], "helixcode");
    }

    #[test]
    fn a_message_reads_back_as_it_was_written() {
        let query = ServiceQuery {
            name: Some("api".parse().unwrap()),
            scopes: vec![Scope::default()],
            query_id: "1f".into(),
            all: false,
        };
        let message = Message {
            version: version(),
            body: Body::ServiceQuery(query),
            timestamp: "2025-11-07T12:00:00Z".parse().unwrap(),
            ttl: Ttl::DEFAULT,
            sender: Some("00ff".into()),
            sequence: Some(1),
            key_id: None,
            signature: None,
        };
        let json = serde_json::to_string(&message).unwrap();
        assert!(json.contains(r#""type":"service_query""#), "{json}");
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
    }
}
