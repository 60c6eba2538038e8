//! The setting `needs` of a service.

use std::collections::BTreeMap;

use portolan_core::{ServiceName, unique_names};
use serde::Deserialize;

/// The services that must be in a state before another one starts: a list of names, or names with a condition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Written")]
pub struct Needs {
    /// The services that must be found and ready. Their addresses are in the environment of the dependent.
    pub ready: Vec<ServiceName>,
    /// Services of the same stack with another condition.
    pub others: Vec<(ServiceName, Condition)>,
}

/// The condition of a need that need not be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its program runs, or has ended with 0.
    Started,
    /// Its program has ended with 0, as a migration does.
    Completed,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a list of services, or services with one of ready, started and completed: {db: ready, migrate: completed}"
)]
enum Written {
    List(Vec<ServiceName>),
    Map(#[serde(deserialize_with = "unique_names")] BTreeMap<ServiceName, WrittenCondition>),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenCondition {
    Ready,
    Started,
    Completed,
}

// === impl Needs ===

impl Needs {
    /// Returns the names of all needs.
    pub fn names(&self) -> impl Iterator<Item = &ServiceName> {
        self.ready.iter().chain(self.others.iter().map(|(name, _)| name))
    }
}

impl From<Written> for Needs {
    fn from(written: Written) -> Self {
        let map = match written {
            Written::List(ready) => return Self { ready, others: Vec::new() },
            Written::Map(map) => map,
        };
        let mut needs = Self::default();
        for (name, condition) in map {
            match condition {
                WrittenCondition::Ready => needs.ready.push(name),
                WrittenCondition::Started => needs.others.push((name, Condition::Started)),
                WrittenCondition::Completed => needs.others.push((name, Condition::Completed)),
            }
        }
        needs
    }
}
