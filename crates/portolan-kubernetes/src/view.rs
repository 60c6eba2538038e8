//! The Services and slices of the cluster, as far as the watches have reported them.

use std::collections::{BTreeSet, HashMap, HashSet};

use kube::runtime::watcher::Event;

use crate::changes::{ObjectChange, SourceChange};
use crate::objects::{EndpointSlice, SERVICE_NAME, Service};

/// The namespace and the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The state of the cluster.
#[derive(Default)]
pub(crate) struct View {
    services: Objects<Service>,
    slices: Objects<EndpointSlice>,
    /// The slices of each Service.
    slices_of: HashMap<Key, BTreeSet<Key>>,
}

/// What a change may have changed.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) services: BTreeSet<Key>,
    /// The source of which everything is known now.
    pub(crate) listed: Option<Option<String>>,
}

/// The objects of one kind.
struct Objects<K> {
    known: HashMap<Key, K>,
    /// What the list has shown that a source is being sent, by the source.
    listing: HashMap<Option<String>, HashSet<Key>>,
    /// The sources whose list was complete once.
    listed: HashSet<Option<String>>,
}

// === impl View ===

impl View {
    /// Returns a Service, if it exists.
    pub(crate) fn service(&self, key: &Key) -> Option<&Service> {
        self.services.known.get(key)
    }

    /// Returns the slices that name this Service, which may not exist.
    pub(crate) fn slices(&self, service: &Key) -> impl Iterator<Item = &EndpointSlice> {
        let keys = self.slices_of.get(service).into_iter().flatten();
        keys.filter_map(|key| self.slices.known.get(key))
    }

    /// Every Service.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.known.values()
    }

    /// Every slice.
    pub(crate) fn all_slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.known.values()
    }

    /// Applies a change.
    pub(crate) fn apply(&mut self, SourceChange { namespace, change }: SourceChange) -> Touched {
        let mut touched = Touched::default();
        let is_done = match change {
            ObjectChange::Service(event) => {
                let is_done = matches!(event, Event::InitDone);
                let changed = self.services.apply(namespace.as_ref(), event);
                touched.services.extend(changed.into_iter().map(|(key, _, _)| key));
                is_done
            }
            ObjectChange::Slice(event) => {
                let is_done = matches!(event, Event::InitDone);
                for (key, before, after) in self.slices.apply(namespace.as_ref(), event) {
                    self.index(&key, before.as_ref(), after, &mut touched.services);
                }
                is_done
            }
        };
        let is_listed = |objects: &HashSet<Option<String>>| objects.contains(&namespace);
        if is_done && is_listed(&self.services.listed) && is_listed(&self.slices.listed) {
            touched.listed = Some(namespace);
        }
        touched
    }

    /// Notes that a slice was of one Service, and is of another one, or the same.
    fn index(
        &mut self,
        slice: &Key,
        before: Option<&Key>,
        after: Option<Key>,
        touched: &mut BTreeSet<Key>,
    ) {
        if let Some(service) = before.filter(|before| Some(*before) != after.as_ref()) {
            touched.insert(service.clone());
            if let Some(slices) = self.slices_of.get_mut(service) {
                slices.remove(slice);
                if slices.is_empty() {
                    self.slices_of.remove(service);
                }
            }
        }
        if let Some(service) = after {
            self.slices_of.entry(service.clone()).or_default().insert(slice.clone());
            touched.insert(service);
        }
    }
}

// === impl Objects ===

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), listing: HashMap::new(), listed: HashSet::new() }
    }
}

impl<K: Object> Objects<K> {
    /// Applies an event. Returns what has changed, with the Service to which it belonged and belongs.
    fn apply(
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
        // The largest part of an object, of no use here.
        object.meta_mut().managed_fields = None;
        object.meta_mut().annotations = None;
        let after = object.service();
        let before = self.known.insert(key.clone(), object).and_then(|object| object.service());
        (key, before, after)
    }

    fn remove(&mut self, key: Key) -> Option<(Key, Option<Key>, Option<Key>)> {
        let removed = self.known.remove(&key)?;
        Some((key, removed.service(), None))
    }
}

/// An object that belongs to a Service.
trait Object: kube::Resource {
    /// The Service to which it belongs.
    fn service(&self) -> Option<Key>;
}

impl Object for Service {
    fn service(&self) -> Option<Key> {
        key(self)
    }
}

impl Object for EndpointSlice {
    fn service(&self) -> Option<Key> {
        let name = self.metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone();
        Some(Key { namespace: self.metadata.namespace.clone()?, name })
    }
}

fn key(object: &impl kube::Resource) -> Option<Key> {
    let meta = object.meta();
    Some(Key { namespace: meta.namespace.clone()?, name: meta.name.clone()? })
}

#[cfg(test)]
mod tests;
