//! The keys below the prefix. `docs/etcd.md` describes them for people.
//!
//! | key | value |
//! | --- | --- |
//! | `PREFIX/format` | the format of all others; absent from a prefix that is not used yet |
//! | `PREFIX/v1/endpoints/ID` | a record, attached to the lease of its registration |
//! | `PREFIX/v1/deregistered` | the ids that the transaction of its revision deregistered |
//! | `PREFIX/v1/servers/SERVER` | a live server, attached to its lease |
//! | `PREFIX/v1/settings/SCOPE/NAME` | the settings of a service with their versions |
//! | `PREFIX/v1/by-address/HOST/PORT/PROTOCOL/ID` | none: written by each registration at that place |
//! | `PREFIX/v1/by-fenced/FENCED/ID` | none: written by each registration whose owner has fenced that id |

use portolan_core::ServiceId;
use portolan_etcd::KeyRange;

use crate::store::owner::Place;
use crate::{ServerId, SettingsKey};

/// The keys of a registry.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

/// What a key of the watched range holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Watched {
    Endpoint(ServiceId),
    Deregistered,
    Server(ServerId),
    /// A key that this version does not know.
    Other,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn format(&self) -> String {
        format!("{}/format", self.prefix)
    }

    /// Every key of the prefix.
    pub(super) fn all(&self) -> KeyRange {
        KeyRange::with_prefix(&format!("{}/", self.prefix))
    }

    /// What is watched: a range, because one watch delivers the events of a revision together. The keys
    /// `by-…` sort before it.
    pub(super) fn watched(&self) -> KeyRange {
        // `0` follows `/`.
        let end = format!("{}/v1/servers0", self.prefix);
        KeyRange::between(&self.deregistered(), &end)
    }

    pub(super) fn deregistered(&self) -> String {
        format!("{}/v1/deregistered", self.prefix)
    }

    pub(super) fn endpoint(&self, id: &ServiceId) -> String {
        format!("{}/v1/endpoints/{id}", self.prefix)
    }

    pub(super) fn server(&self, server: ServerId) -> String {
        format!("{}/v1/servers/{:016x}", self.prefix, server.0)
    }

    pub(super) fn settings(&self, key: &SettingsKey) -> String {
        format!("{}/v1/settings/{}/{}", self.prefix, key.scope, key.name)
    }

    /// The settings of all services. They sort after what is watched for the instances.
    pub(super) fn all_settings(&self) -> KeyRange {
        KeyRange::with_prefix(&format!("{}/v1/settings/", self.prefix))
    }

    /// Whether the key is one of settings.
    pub(super) fn is_settings(&self, key: &[u8]) -> bool {
        let rest = key.strip_prefix(self.prefix.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"/v1/settings/"))
    }

    /// The prefix of the keys of all instances at a place.
    pub(super) fn at(&self, place: &Place) -> String {
        format!("{}/v1/by-address/{}/", self.prefix, place.key())
    }

    /// The prefix of the keys of all instances whose owners have fenced an incarnation of the id.
    pub(super) fn fenced(&self, id: &ServiceId) -> String {
        format!("{}/v1/by-fenced/{id}/", self.prefix)
    }

    /// Whether the key is one of those that are not watched.
    pub(super) fn is_known(&self, key: &[u8]) -> bool {
        let rest = key.strip_prefix(self.prefix.as_bytes());
        rest.is_some_and(|rest| {
            rest == b"/format"
                || [&b"/v1/by-address/"[..], b"/v1/by-fenced/"]
                    .iter()
                    .any(|known| rest.starts_with(known))
        })
    }

    /// What a watched key holds.
    pub(super) fn parse(&self, key: &[u8]) -> Watched {
        let text = std::str::from_utf8(key).ok();
        let rest = text.and_then(|key| key.strip_prefix(&self.prefix)?.strip_prefix("/v1/"));
        let Some(rest) = rest else { return Watched::Other };
        if rest == "deregistered" {
            return Watched::Deregistered;
        }
        let server = |text| u64::from_str_radix(text, 16).map(ServerId).ok();
        match rest.split_once('/') {
            Some(("endpoints", id)) => id.parse().map_or(Watched::Other, Watched::Endpoint),
            Some(("servers", id)) => server(id).map_or(Watched::Other, Watched::Server),
            _ => Watched::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_keys_are_parsed_and_foreign_ones_are_not() {
        let keys = Keys::new("/portolan");
        let id: ServiceId = "api@::1:8080".parse().unwrap();
        let parse = |key: &str| keys.parse(key.as_bytes());
        assert_eq!(parse(&keys.endpoint(&id)), Watched::Endpoint(id));
        assert_eq!(parse(&keys.server(ServerId(7))), Watched::Server(ServerId(7)));
        assert_eq!(parse(&keys.deregistered()), Watched::Deregistered);
        let foreign =
            ["/other/v1/endpoints/a", "/portolan/v1/endpoints/", "/portolan/v1/servers/x", "a"];
        for key in foreign {
            assert_eq!(parse(key), Watched::Other, "{key}");
        }
        assert_eq!(keys.parse(b"/portolan/v1/endpoints/\xff"), Watched::Other);
    }
}
