//! The value of an endpoint's key: the endpoint as the API shows it, and what the store keeps with it.

use std::net::IpAddr;

use portolan_core::{Incarnation, Revision, ServiceEndpoint, ServiceId};
use serde::{Deserialize, Serialize};

use crate::store::owner::Owner;
use crate::store::remote::{self, KeptValue, LAST, Written};
use crate::{AgentSessionId, ServerId};

/// The value of an endpoint's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Value {
    /// The endpoint. Its revision is 0 if this write has changed it: then it is that of the write.
    pub(super) endpoint: ServiceEndpoint,
    owner: OwnerValue,
    /// What this write has changed.
    pub(super) change: Written,
    /// The server that received the registration, which ends its lease.
    server: String,
    /// The TTL of the lease in etcd, in seconds.
    pub(super) lease_ttl: i64,
    /// Until when it is kept although its lease ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<KeptValue>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OwnerValue {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fenced: Vec<(ServiceId, Incarnation)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<AgentSessionId>,
}

// === impl Value ===

impl Value {
    pub(super) fn new(
        mut endpoint: ServiceEndpoint,
        owner: &Owner,
        change: Written,
        server: ServerId,
        lease_ttl: i64,
    ) -> Self {
        if change.has_revision() {
            endpoint.revision = Revision::default();
        }
        let Owner { peer, identity, fenced, session } = owner.clone();
        let owner = OwnerValue { peer, identity, fenced, session };
        let server = format!("{:016x}", server.0);
        Self { endpoint, owner, change, server, lease_ttl, kept: None }
    }

    pub(super) fn kept(self, kept: Option<KeptValue>) -> Self {
        Self { kept, ..self }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers can always be written as JSON")
    }

    /// Decodes a value that was written at this revision of etcd.
    pub(super) fn decode(json: &[u8], written: i64) -> Result<Self, serde_json::Error> {
        let mut value: Self = serde_json::from_slice(json)?;
        if value.endpoint.revision == Revision::default() {
            value.endpoint.revision = revision(written, LAST);
        }
        Ok(value)
    }

    pub(super) fn owner(&self) -> Owner {
        let OwnerValue { peer, identity, fenced, session } = self.owner.clone();
        Owner { peer, identity, fenced, session }
    }

    pub(super) fn server(&self) -> ServerId {
        ServerId(u64::from_str_radix(&self.server, 16).unwrap_or_default())
    }
}

/// The revision of the registry that a change has: the change of this number in a revision of etcd.
pub(super) fn revision(etcd: i64, change: u64) -> Revision {
    remote::revision(u64::try_from(etcd).unwrap_or(0), change)
}

#[cfg(test)]
mod tests {
    use portolan_core::{Host, Registration, Ttl};
    use proptest::prelude::*;

    use super::*;
    use crate::CommandOrigin;

    fn endpoint() -> ServiceEndpoint {
        let registration = Registration::new("api".parse().unwrap(), Host::loopback(), 8080);
        registration.into_endpoint(Ttl::DEFAULT, "2026-11-23T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn value_is_readable_and_survives_a_round_trip() {
        let mut owner = Owner::new(&CommandOrigin::local());
        owner.fenced.push(("old".parse().unwrap(), Incarnation::new(7)));
        let value = Value::new(endpoint(), &owner, Written::Registered, ServerId(1), 3660);
        let json = value.encode();
        insta::assert_snapshot!(String::from_utf8(json.clone()).unwrap());
        let decoded = Value::decode(&json, 5).unwrap();
        assert_eq!(decoded.endpoint.revision, Revision(5 * 128 + 127));
        assert_eq!((decoded.owner(), decoded.server()), (owner, ServerId(1)));
    }

    #[test]
    fn write_without_a_change_keeps_the_revision() {
        let endpoint = ServiceEndpoint { revision: Revision(700), ..endpoint() };
        let owner = Owner::new(&CommandOrigin::local());
        let value = Value::new(endpoint, &owner, Written::Reason, ServerId(1), 3660);
        let decoded = Value::decode(&value.encode(), 9).unwrap();
        assert_eq!(decoded.endpoint.revision, Revision(700));
    }

    proptest! {
        /// Any client of etcd can write the key.
        #[test]
        fn any_value_is_decoded_or_rejected(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            lease_ttl in any::<i64>(),
            written in any::<i64>(),
            server in "[0-9a-z]{0,20}",
        ) {
            assert!(Value::decode(&bytes, written).is_err());
            let owner = Owner::new(&CommandOrigin::local());
            let value = Value::new(endpoint(), &owner, Written::Health, ServerId(1), lease_ttl);
            let value = Value { server, ..value };
            prop_assert_eq!(Value::decode(&value.encode(), written).unwrap().server(), value.server());
        }
    }
}
