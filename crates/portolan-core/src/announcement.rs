//! Messages of the broadcast channel, as encoded in datagrams.
//!
//! The members and their names are those of the specification. `sender`, `sequence`, `key_id`,
//! `audience` and `in_reply_to` are additions that a receiver may ignore.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Scope, ServiceEndpoint, ServiceName, Ttl, text_enum};

/// The protocol version of this crate.
pub const VERSION: &str = "1.0";

/// A message, which is one datagram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The protocol version.
    #[serde(default = "version")]
    pub version: String,
    /// The type of the message and its content.
    #[serde(flatten)]
    pub body: Body,
    /// When the message was sent.
    pub timestamp: Timestamp,
    /// How long the content is valid without being repeated.
    pub ttl: Ttl,
    /// A random number in hexadecimal that the sender draws at start. It distinguishes senders, and
    /// the lifetimes of one sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// A counter of the sender's messages, which distinguishes a replay from a repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The id of the signing key, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The channel that a signed message was sent to, as group and port: a copy of it is not accepted on another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The signature: HMAC-SHA256, in lower-case hexadecimal, over the canonical JSON (RFC 8785) of
    /// the message without this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// An announcement of an instance.
    ServiceAnnouncement(Box<ServiceAnnouncement>),
    /// A query for instances.
    ServiceQuery(ServiceQuery),
}

/// An announcement of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceAnnouncement {
    /// What the announcement does.
    #[serde(default)]
    pub action: Action,
    /// The instance.
    pub service: ServiceEndpoint,
    /// The id of the query that this answers, if it answers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
}

/// A query to all receivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceQuery {
    /// The name of the service; `None` matches all services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ServiceName>,
    /// The scopes to search; empty matches all scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// The id of the query. Replies repeat it as `in_reply_to`.
    pub query_id: String,
    /// Which part of the instances respond, if not all may at once: a response to an unsigned query of another host is limited.
    /// Parts beyond the last one begin again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub page: u32,
    /// Whether critical instances are included.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
}

/// What an announcement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The instance has started.
    #[default]
    Register,
    /// The instance stops.
    Deregister,
    /// The registration has changed.
    Update,
    /// The instance is still running.
    Heartbeat,
}

/// Why text is not an action. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an action, expected register, deregister, update or heartbeat")]
pub struct InvalidAction(String);

text_enum! {
    Action, InvalidAction,
    Register => "register",
    Deregister => "deregister",
    Update => "update",
    Heartbeat => "heartbeat",
}

fn version() -> String {
    VERSION.to_owned()
}

// `skip_serializing_if` requires a reference.
fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, section "Broadcast Message Format".
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
    fn message_of_the_specification_is_parsed() {
        let message: Message = serde_json::from_str(SPECIFIED).unwrap();
        assert_eq!(message.ttl, Ttl::DEFAULT);
        let Body::ServiceAnnouncement(announcement) = message.body else {
            panic!("not an announcement");
        };
        assert_eq!(announcement.action, Action::Register);
        assert_eq!(announcement.service.address(), "192.168.1.100:5434");
        assert_eq!(announcement.service.metadata.get("database"), Some("helixcode"));
    }

    #[test]
    fn message_round_trips() {
        let query = ServiceQuery {
            name: Some("api".parse().unwrap()),
            scopes: vec![Scope::default()],
            query_id: "1f".into(),
            page: 0,
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
            audience: None,
            signature: None,
        };
        let json = serde_json::to_string(&message).unwrap();
        assert!(json.contains(r#""type":"service_query""#), "{json}");
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
    }
}
