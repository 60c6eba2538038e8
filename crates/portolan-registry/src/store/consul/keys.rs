//! The keys below the prefix. `docs/consul.md` describes them for people.
//!
//! | key | value |
//! | --- | --- |
//! | `PREFIX/format` | the format of all others; absent from a prefix that is not used yet |
//! | `PREFIX/v1/endpoints/ID` | an endpoint, its owner, and the server that holds its lease |
//! | `PREFIX/v1/guards/NUMBER` | none: written by each registration whose places or fenced ids have this number |
//! | `PREFIX/settings/v1/SCOPE/NAME` | the settings of a service with their versions |
//! | `PREFIX/v1/feed/changes/NAME` | what a transaction has changed, until no server needs it any more |
//! | `PREFIX/v1/feed/floor` | the index of the newest change that was deleted |
//! | `PREFIX/v1/feed/servers/SERVER` | a live server, locked with its session |

use portolan_core::{ServiceId, fnv1a};
use serde::{Deserialize, Serialize};

use crate::store::owner::Place;
use crate::{ServerId, SettingsKey};

/// How many guards there are: enough that registrations rarely share one by accident, which costs them an attempt.
const GUARDS: u64 = 4096;

/// The keys of a registry.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

/// The number of the key that registrations write which exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Guard(u16);

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Endpoint(ServiceId),
    Guard(Guard),
    Change,
    Floor,
    Server(ServerId),
    Settings,
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

    /// The prefix of every key.
    pub(super) fn all(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The prefix of every key of this format.
    pub(super) fn state(&self) -> String {
        format!("{}/v1/", self.prefix)
    }

    /// The prefix of what servers wait for.
    pub(super) fn feed(&self) -> String {
        format!("{}/v1/feed/", self.prefix)
    }

    pub(super) fn floor(&self) -> String {
        format!("{}/v1/feed/floor", self.prefix)
    }

    pub(super) fn change(&self, name: &str) -> String {
        format!("{}/v1/feed/changes/{name}", self.prefix)
    }

    pub(super) fn server(&self, server: ServerId) -> String {
        format!("{}/v1/feed/servers/{:016x}", self.prefix, server.0)
    }

    pub(super) fn endpoint(&self, id: &ServiceId) -> String {
        format!("{}/v1/endpoints/{id}", self.prefix)
    }

    pub(super) fn guard(&self, guard: Guard) -> String {
        format!("{}/v1/guards/{:03x}", self.prefix, guard.0)
    }

    pub(super) fn settings(&self, key: &SettingsKey) -> String {
        format!("{}{}/{}", self.all_settings(), key.scope, key.name)
    }

    /// The prefix of the settings of all services: outside that of the state, which servers read at once.
    pub(super) fn all_settings(&self) -> String {
        format!("{}/settings/v1/", self.prefix)
    }

    pub(super) fn parse(&self, key: &str) -> Kind {
        let key = key.strip_prefix(&self.prefix).unwrap_or_default();
        if key.starts_with("/settings/v1/") {
            return Kind::Settings;
        }
        let Some(rest) = key.strip_prefix("/v1/") else { return Kind::Other };
        if let Some(id) = rest.strip_prefix("endpoints/") {
            return id.parse().map_or(Kind::Other, Kind::Endpoint);
        }
        if let Some(number) = rest.strip_prefix("guards/") {
            let number = u16::from_str_radix(number, 16);
            return number.map_or(Kind::Other, |number| Kind::Guard(Guard(number)));
        }
        match rest.strip_prefix("feed/") {
            Some("floor") => Kind::Floor,
            Some(feed) if feed.starts_with("changes/") => Kind::Change,
            Some(feed) => {
                let server = feed.strip_prefix("servers/");
                let server = server.and_then(|text| u64::from_str_radix(text, 16).ok());
                server.map_or(Kind::Other, |server| Kind::Server(ServerId(server)))
            }
            None => Kind::Other,
        }
    }
}

// === impl Guard ===

impl Guard {
    /// The guard of the instances at a place.
    pub(super) fn of_place(place: &Place) -> Self {
        Self::of(&format!("at/{}", place.key()))
    }

    /// The guard of the instances whose owners have fenced an incarnation of the id.
    pub(super) fn of_fenced(id: &ServiceId) -> Self {
        Self::of(&format!("fenced/{id}"))
    }

    fn of(text: &str) -> Self {
        let number = fnv1a(text.bytes()) % GUARDS;
        Self(u16::try_from(number).expect("less than 4096"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed_and_foreign_ones_are_not() {
        let keys = Keys::new("team/portolan");
        let id: ServiceId = "api@::1:8080".parse().unwrap();
        assert_eq!(keys.parse(&keys.endpoint(&id)), Kind::Endpoint(id.clone()));
        assert_eq!(keys.parse(&keys.server(ServerId(7))), Kind::Server(ServerId(7)));
        assert_eq!(keys.parse(&keys.floor()), Kind::Floor);
        assert_eq!(keys.parse(&keys.change("7-3")), Kind::Change);
        let guard = Guard::of_fenced(&id);
        assert_eq!(keys.parse(&keys.guard(guard)), Kind::Guard(guard));
        for key in [
            "other/v1/endpoints/a",
            "team/portolan/v1/endpoints/",
            "team/portolan/v1/feed/servers/x",
            "team/portolan/v1/guards/zz",
            "a",
        ] {
            assert_eq!(keys.parse(key), Kind::Other, "{key}");
        }
    }

    #[test]
    fn guards_do_not_change_between_versions() {
        assert_eq!(Guard::of_fenced(&"api@::1:8080".parse().unwrap()), Guard(12));
    }
}
