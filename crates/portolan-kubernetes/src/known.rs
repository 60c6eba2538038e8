//! The objects of one kind, as far as the watches have reported them.

use std::collections::{HashMap, HashSet};

use kube::runtime::watcher::Event;

/// The namespace and the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The objects of one kind.
pub(crate) struct Objects<K> {
    pub(crate) known: HashMap<Key, K>,
    /// What the list has shown that a source is being sent, by the source.
    listing: HashMap<Option<String>, HashSet<Key>>,
    /// The sources whose list was complete once.
    pub(crate) listed: HashSet<Option<String>>,
}

/// An object that a command follows.
pub(crate) trait Object: kube::Resource {
    /// The object to whose instances it contributes: the Service of a slice, else itself.
    fn subject(&self) -> Option<Key>;

    /// Removes what is large and of no use here.
    fn strip(&mut self) {
        self.meta_mut().managed_fields = None;
        self.meta_mut().annotations = None;
    }
}

// === impl Objects ===

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), listing: HashMap::new(), listed: HashSet::new() }
    }
}

impl<K: Object> Objects<K> {
    /// Applies an event. Returns what has changed, with the subject that it had and has.
    pub(crate) fn apply(
        &mut self,
        source: Option<&String>,
        event: Event<K>,
    ) -> Vec<(Key, Option<Key>, Option<Key>)> {
        let source = source.cloned();
        match event {
            Event::Init => {
                self.listing.insert(source, HashSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let Some(key) = key(&object) else { return Vec::new() };
                self.listing.entry(source).or_default().insert(key.clone());
                vec![self.put(key, object)]
            }
            Event::InitDone => {
                let shown = self.listing.remove(&source).unwrap_or_default();
                self.listed.insert(source.clone());
                let of_source = |key: &&Key| source.as_ref().is_none_or(|it| *it == key.namespace);
                let gone = self.known.keys().filter(of_source).filter(|key| !shown.contains(*key));
                let gone: Vec<_> = gone.cloned().collect();
                gone.into_iter().filter_map(|key| self.remove(key)).collect()
            }
            Event::Apply(object) => match key(&object) {
                Some(key) if !self.is_older(&key, &object) => vec![self.put(key, object)],
                _ => Vec::new(),
            },
            Event::Delete(object) => {
                key(&object).and_then(|key| self.remove(key)).into_iter().collect()
            }
        }
    }

    /// Whether the object is known in a later state, as the answer to a change comes before the event of an earlier one.
    fn is_older(&self, key: &Key, object: &K) -> bool {
        let version = |object: &K| object.meta().resource_version.as_ref()?.parse::<u64>().ok();
        let known = self.known.get(key).filter(|known| known.meta().uid == object.meta().uid);
        known.is_some_and(|known| version(object) < version(known))
    }

    fn put(&mut self, key: Key, mut object: K) -> (Key, Option<Key>, Option<Key>) {
        object.strip();
        let after = object.subject();
        let before = self.known.insert(key.clone(), object).and_then(|object| object.subject());
        (key, before, after)
    }

    fn remove(&mut self, key: Key) -> Option<(Key, Option<Key>, Option<Key>)> {
        let removed = self.known.remove(&key)?;
        Some((key, removed.subject(), None))
    }
}

pub(crate) fn key(object: &impl kube::Resource) -> Option<Key> {
    let meta = object.meta();
    Some(Key { namespace: meta.namespace.clone()?, name: meta.name.clone()? })
}
