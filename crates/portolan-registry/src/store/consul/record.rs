//! The values of keys: an endpoint with what the store keeps with it, and what a transaction has changed.

use portolan_core::{Revision, ServiceEndpoint, ServiceId};
use serde::{Deserialize, Serialize};

use super::keys::Guard;
use crate::ServerId;
use crate::store::owner::Owner;
use crate::store::remote::{KeptValue, LAST, Written, revision};

/// The longest value in bytes that stands in a change too; a change of a longer one refers to the endpoint's key, so
/// that a list of changes stays small.
const INLINE: usize = 16 * 1024;

/// The value of an endpoint's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Value {
    /// The endpoint. Its revision is 0 if this write has changed it: then it is that of the write.
    pub(super) endpoint: ServiceEndpoint,
    pub(super) owner: Owner,
    /// What this write has changed.
    pub(super) change: Written,
    /// The server that holds the lease, and ends it.
    server: String,
    /// Until when it is kept although its lease ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<KeptValue>,
    /// The name of the change. Consul does not count a write of the same value, so no two are the same.
    transaction: String,
}

/// What a transaction has changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ChangeValue {
    /// The instances that it has removed, first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) removed: Vec<Removed>,
    /// The endpoint that it has stored, last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stored: Option<StoredValue>,
    /// The guards that it has written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) guards: Vec<Guard>,
}

/// An instance that a transaction has removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Removed {
    pub(super) id: ServiceId,
    /// Whether its lease has ended; else it was deregistered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) expired: bool,
}

/// The endpoint that a transaction has stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StoredValue {
    /// The value of its key.
    Value(Box<Value>),
    /// A long value, which is that of its key.
    At(ServiceId),
}

// === impl Value ===

impl Value {
    pub(super) fn new(
        mut endpoint: ServiceEndpoint,
        owner: Owner,
        change: Written,
        server: ServerId,
        transaction: &str,
    ) -> Self {
        if change.has_revision() {
            endpoint.revision = Revision::default();
        }
        Self {
            endpoint,
            owner,
            change,
            server: format!("{:016x}", server.0),
            kept: None,
            transaction: transaction.to_owned(),
        }
    }

    pub(super) fn kept(self, kept: Option<KeptValue>) -> Self {
        Self { kept, ..self }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers can always be written as JSON")
    }

    /// The value as a part of a change.
    pub(super) fn in_change(self, encoded: &[u8]) -> StoredValue {
        if encoded.len() > INLINE {
            StoredValue::At(self.endpoint.id)
        } else {
            StoredValue::Value(Box::new(self))
        }
    }

    /// Decodes the value of a key.
    pub(super) fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Completes the value by the index of its write.
    pub(super) fn written_at(mut self, index: u64) -> Self {
        if self.endpoint.revision == Revision::default() {
            self.endpoint.revision = revision(index, LAST);
        }
        self
    }

    pub(super) fn server(&self) -> ServerId {
        ServerId(u64::from_str_radix(&self.server, 16).unwrap_or_default())
    }
}

// === impl ChangeValue ===

impl ChangeValue {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers can always be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{Host, Incarnation, Registration, Ttl};
    use proptest::prelude::*;

    use super::*;
    use crate::CommandOrigin;

    fn endpoint() -> ServiceEndpoint {
        let registration = Registration::new("api".parse().unwrap(), Host::loopback(), 8080);
        registration.into_endpoint(Ttl::DEFAULT, "2026-11-23T12:00:00Z".parse().unwrap())
    }

    fn value(endpoint: ServiceEndpoint, change: Written) -> Value {
        let mut owner = Owner::new(&CommandOrigin::local());
        owner.fenced.push(("old".parse().unwrap(), Incarnation::new(7)));
        Value::new(endpoint, owner, change, ServerId(1), "0000000000000001-7")
    }

    #[test]
    fn change_is_readable_and_survives_a_round_trip() {
        let value = value(endpoint(), Written::Registered);
        let removed = Removed { id: "old".parse().unwrap(), expired: false };
        let gone = Removed { id: "gone".parse().unwrap(), expired: true };
        let encoded = value.encode();
        let stored = Some(value.clone().in_change(&encoded));
        let guards = vec![Guard::of_fenced(&"old".parse().unwrap())];
        let change = ChangeValue { removed: vec![removed, gone], stored, guards };
        insta::assert_snapshot!(String::from_utf8(change.encode()).unwrap());
        assert_eq!(serde_json::from_slice::<ChangeValue>(&change.encode()).unwrap(), change);
        let decoded = Value::decode(&encoded).unwrap().written_at(5);
        assert_eq!(decoded.endpoint.revision, Revision(5 * 128 + 127));
        assert_eq!(decoded.server(), ServerId(1));
    }

    #[test]
    fn long_value_is_not_repeated_in_the_change() {
        let mut endpoint = endpoint();
        endpoint.metadata.insert("large", "x".repeat(INLINE));
        let value = value(endpoint, Written::Updated);
        let encoded = value.encode();
        let id = value.endpoint.id.clone();
        assert_eq!(value.in_change(&encoded), StoredValue::At(id));
    }

    #[test]
    fn write_without_a_change_keeps_the_revision() {
        let endpoint = ServiceEndpoint { revision: Revision(700), ..endpoint() };
        let value = value(endpoint, Written::Reason).written_at(9);
        assert_eq!(value.endpoint.revision, Revision(700));
    }

    proptest! {
        /// Any client of Consul can write the keys.
        #[test]
        fn any_value_is_decoded_or_rejected(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            server in "[0-9a-z]{0,20}",
        ) {
            assert!(Value::decode(&bytes).is_err());
            _ = serde_json::from_slice::<ChangeValue>(&bytes);
            let value = Value { server, ..value(endpoint(), Written::Health) };
            prop_assert_eq!(Value::decode(&value.encode()).unwrap().server(), value.server());
        }
    }
}
