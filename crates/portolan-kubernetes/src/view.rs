//! The Services and slices of the cluster, as far as the watches have reported them.

use std::collections::{BTreeSet, HashMap, HashSet};

use kube::runtime::watcher::Event;

use crate::changes::{ObjectChange, SourceChange};
use crate::known::{Key, Object, Objects, key};
use crate::objects::{EndpointSlice, SERVICE_NAME, Service};

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

impl Object for Service {
    fn subject(&self) -> Option<Key> {
        key(self)
    }
}

impl Object for EndpointSlice {
    fn subject(&self) -> Option<Key> {
        let name = self.metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone();
        Some(Key { namespace: self.metadata.namespace.clone()?, name })
    }
}

#[cfg(test)]
mod tests;
