//! Decodes messages. The usual ones are decoded in one pass over their text, and all others by way of a tree of values.

use jiff::Timestamp;
use portolan_core::announcement::VERSION;
use portolan_core::{Action, Body, Message, ServiceAnnouncement, ServiceEndpoint, Ttl};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::validate::Rejection;

/// The type of an announcement in JSON.
const ANNOUNCEMENT: &str = "service_announcement";

/// An announcement with all its members in one object. Serde reads flattened and tagged types by way of a tree of their own.
#[derive(Deserialize)]
struct Announcement<'a> {
    #[serde(default = "version")]
    version: String,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    action: Action,
    service: ServiceEndpoint,
    #[serde(default)]
    in_reply_to: Option<String>,
    timestamp: Timestamp,
    ttl: Ttl,
    #[serde(default)]
    sender: Option<String>,
    #[serde(default)]
    sequence: Option<u64>,
    #[serde(default)]
    key_id: Option<String>,
    #[serde(default)]
    audience: Option<String>,
    #[serde(default)]
    signature: Option<String>,
}

/// Decodes a message.
pub(crate) fn message(payload: &[u8]) -> Result<Message, Rejection> {
    match announcement(payload) {
        Some(message) => Ok(message),
        // Of a member that occurs twice the last one counts; and errors are explained.
        None => message_of(object(payload)?),
    }
}

/// Decodes a JSON object.
pub(crate) fn object(payload: &[u8]) -> Result<Map<String, Value>, Rejection> {
    serde_json::from_slice(payload).map_err(Rejection::NotJson)
}

/// Decodes the message in an object.
pub(crate) fn message_of(object: Map<String, Value>) -> Result<Message, Rejection> {
    serde_json::from_value(Value::Object(object)).map_err(Rejection::NotAMessage)
}

fn announcement(payload: &[u8]) -> Option<Message> {
    let read: Announcement<'_> = serde_json::from_slice(payload).ok()?;
    if read.kind != ANNOUNCEMENT {
        return None;
    }
    let Announcement { action, service, in_reply_to, .. } = read;
    Some(Message {
        version: read.version,
        body: Body::ServiceAnnouncement(Box::new(ServiceAnnouncement {
            action,
            service,
            in_reply_to,
        })),
        timestamp: read.timestamp,
        ttl: read.ttl,
        sender: read.sender,
        sequence: read.sequence,
        key_id: read.key_id,
        audience: read.audience,
        signature: read.signature,
    })
}

fn version() -> String {
    VERSION.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn specified() -> Value {
        json!({
            "version": "1.0", "type": "service_announcement", "action": "heartbeat", "timestamp": "2025-01-01T00:00:00Z",
            "ttl": "60s", "sender": "aa", "sequence": 5, "key_id": "k", "audience": "239.255.0.1:7001", "signature": "ab",
            "in_reply_to": "q",
            "service": {
                "id": "api-1", "name": "api", "host": "10.0.0.1", "port": 80, "protocol": "http",
                "metadata": { "scope": "blue", "zone": "a" }, "addresses": ["10.0.0.2"], "ttl": 30,
                "registered_at": "2025-01-01T00:00:00Z", "health": "passing"
            }
        })
    }

    fn by_tree(text: &str) -> Option<Message> {
        message_of(object(text.as_bytes()).ok()?).ok()
    }

    #[test]
    fn announcement_is_decoded_in_one_pass() {
        let text = specified().to_string();
        let read = announcement(text.as_bytes());
        assert!(read.is_some());
        assert_eq!(read, by_tree(&text));
    }

    #[test]
    fn member_that_occurs_twice_is_the_last_one() {
        let twice = specified().to_string().replacen('{', r#"{"sender":"first","#, 1);
        assert_eq!(announcement(twice.as_bytes()), None);
        assert_eq!(message(twice.as_bytes()).unwrap().sender.as_deref(), Some("aa"));
    }

    /// A value that a member may have by mistake, or in a newer version.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(json!([])),
            Just(json!({})),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            prop::sample::select(vec!["", "1.1", "service_query", "register", "30s", "\u{1}", "é"])
                .prop_map(Value::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

        #[test]
        fn what_is_decoded_in_one_pass_is_what_the_tree_says(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), prop::option::of(value())), 0..3),
        ) {
            let mut message = specified();
            for (at, is_of_service, value) in changes {
                let place = if is_of_service { "/service" } else { "" };
                let Some(Value::Object(object)) = message.pointer_mut(place) else { continue };
                let name = object.keys().nth(at.index(object.len().max(1))).cloned().unwrap_or_default();
                match value {
                    Some(value) => drop(object.insert(name, value)),
                    None => drop(object.remove(&name)),
                }
            }
            let text = message.to_string();
            if let Some(read) = announcement(text.as_bytes()) {
                prop_assert_eq!(Some(read), by_tree(&text));
            }
        }
    }
}
