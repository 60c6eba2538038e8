//! The history of the registry as etcd has it: every write below the prefix, and the change that it means.
//!
//! This reads the keys as `docs/etcd.md` describes them, and shares no code with the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_etcd::{EtcdEvent, KeyValue};
use serde_json::Value;

pub(super) const PREFIX: &str = "/portolan/v1/";

/// Every change, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct History(pub(super) Vec<Change>);

/// A change of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) name: String,
    /// When it was committed, or a little later: when the first member of etcd had delivered it.
    pub(super) at: Duration,
}

// === impl History ===

impl History {
    /// Merges what the members have delivered: all must have delivered the same.
    pub(super) fn read(members: &[Vec<(Duration, EtcdEvent)>]) -> Result<Self> {
        let (first, others) = members.split_first().context("no members")?;
        let mut events: Vec<(Duration, &EtcdEvent)> =
            first.iter().map(|(at, event)| (*at, event)).collect();
        for other in others {
            ensure!(other.len() == first.len(), "{} and {} events", first.len(), other.len());
            for (merged, (at, event)) in events.iter_mut().zip(other) {
                ensure!(merged.1 == event, "members differ: {:?} and {event:?}", merged.1);
                merged.0 = merged.0.min(*at);
            }
        }
        let mut history = Self::default();
        let revision = |event: &EtcdEvent| event.key_value().mod_revision;
        for of_revision in events.chunk_by(|a, b| revision(a.1) == revision(b.1)) {
            let at = of_revision.iter().map(|event| event.0).min().unwrap_or_default();
            let events: Vec<_> = of_revision.iter().map(|event| event.1).collect();
            history.add(&events, at)?;
        }
        Ok(history)
    }

    /// Adds the changes of one revision of etcd.
    fn add(&mut self, events: &[&EtcdEvent], at: Duration) -> Result<()> {
        let deregistered = deregistered(events)?;
        let mut removals = 0;
        for event in events {
            let kv = event.key_value();
            let Some(id) = key(kv)?.strip_prefix("endpoints/") else { continue };
            let first = u64::try_from(kv.mod_revision)? * 128;
            if matches!(event, EtcdEvent::Deleted(_)) {
                let kind = if deregistered.contains(id) { "deregistered" } else { "expired" };
                let name = self.name_of(id)?;
                self.0.push(Change {
                    revision: first + removals,
                    kind,
                    id: id.to_owned(),
                    name,
                    at,
                });
                removals += 1;
                continue;
            }
            let value: Value = serde_json::from_slice(&kv.value)?;
            let name = value["endpoint"]["name"].as_str().context("a name")?.to_owned();
            let kind = match value["change"].as_str() {
                Some("registered") => "registered",
                Some("updated") => "updated",
                Some("health") => "health",
                Some("renewed" | "reason") => continue,
                other => anyhow::bail!("unexpected change {other:?} of {id}"),
            };
            self.0.push(Change { revision: first + 127, kind, id: id.to_owned(), name, at });
        }
        Ok(())
    }

    fn name_of(&self, id: &str) -> Result<String> {
        let known = self.0.iter().rev().find(|change| change.id == id);
        known.map(|change| change.name.clone()).with_context(|| format!("{id} was never written"))
    }

    /// The instances at a revision, each with its own revision.
    pub(super) fn state_at(&self, revision: u64, name: Option<&str>) -> BTreeMap<String, u64> {
        let mut state = BTreeMap::new();
        for change in self.0.iter().take_while(|change| change.revision <= revision) {
            if name.is_some_and(|name| name != change.name) {
                continue;
            }
            match change.is_removal() {
                true => state.remove(&change.id),
                false => state.insert(change.id.clone(), change.revision),
            };
        }
        state
    }

    /// The first change of a service, or of any, after a revision.
    pub(super) fn after(&self, revision: u64, name: Option<&str>) -> Option<&Change> {
        let is_watched = |change: &&Change| name.is_none_or(|name| name == change.name);
        let begin = self.0.partition_point(|change| change.revision <= revision);
        self.0[begin..].iter().find(is_watched)
    }

    /// The changes of an instance.
    pub(super) fn of<'a>(&'a self, id: &'a str) -> impl DoubleEndedIterator<Item = &'a Change> {
        self.0.iter().filter(move |change| change.id == id)
    }

    pub(super) fn count(&self, kind: &str) -> usize {
        self.0.iter().filter(|change| change.kind == kind).count()
    }
}

// === impl Change ===

impl Change {
    pub(super) fn is_removal(&self) -> bool {
        matches!(self.kind, "deregistered" | "expired")
    }
}

/// The part of a key after the prefix.
fn key(kv: &KeyValue) -> Result<&str> {
    let key = std::str::from_utf8(&kv.key)?;
    key.strip_prefix(PREFIX).with_context(|| format!("{key} is not watched"))
}

/// The ids that the transaction of these events deregistered.
fn deregistered(events: &[&EtcdEvent]) -> Result<BTreeSet<String>> {
    for event in events {
        if let (EtcdEvent::Put(kv), "deregistered") = (event, key(event.key_value())?) {
            return Ok(serde_json::from_slice(&kv.value)?);
        }
    }
    Ok(BTreeSet::new())
}
