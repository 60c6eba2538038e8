//! The instances of the registry that are exported, as far as its watch has reported them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use portolan_core::{Change, ServiceEndpoint, ServiceId};

/// The instances of each service.
#[derive(Default)]
pub(crate) struct Instances {
    known: HashMap<ServiceId, Arc<ServiceEndpoint>>,
    by_name: BTreeMap<String, BTreeSet<ServiceId>>,
    /// Whether everything was known once. What is missing before may exist.
    is_known: bool,
    /// Whether the registry has just started: an instance that is missing may only not have registered again yet.
    is_partial: bool,
}

// === impl Instances ===

impl Instances {
    /// Whether everything was known once, so that what is missing does not exist.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether the registry has to be asked again, as it did not know everything itself.
    pub(crate) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The names of the services that have instances.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.by_name.keys()
    }

    /// Returns the instances of a service in the order of their ids.
    pub(crate) fn of(&self, name: &str) -> impl Iterator<Item = &Arc<ServiceEndpoint>> {
        let ids = self.by_name.get(name).into_iter().flatten();
        ids.filter_map(|id| self.known.get(id))
    }

    /// Applies a change, and returns the names of the services that it concerns.
    pub(crate) fn apply(&mut self, change: Change) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match change {
            Change::Snapshot { endpoints, incomplete } => {
                let shown: HashSet<_> = endpoints.iter().map(|it| it.id.clone()).collect();
                let gone = self.known.keys().filter(|id| !incomplete && !shown.contains(*id));
                for id in gone.cloned().collect::<Vec<_>>() {
                    self.remove(&id, &mut touched);
                }
                endpoints.into_iter().for_each(|it| self.put(it, &mut touched));
                self.is_partial = incomplete;
                self.is_known |= !incomplete;
            }
            Change::Deregistered { endpoint } | Change::Expired { endpoint } => {
                self.remove(&endpoint.id, &mut touched);
            }
            Change::Registered { endpoint }
            | Change::Updated { endpoint }
            | Change::Health { endpoint } => self.put(endpoint, &mut touched),
        }
        touched
    }

    fn put(&mut self, endpoint: Arc<ServiceEndpoint>, touched: &mut BTreeSet<String>) {
        let (id, name) = (endpoint.id.clone(), endpoint.name.to_string());
        let is_elsewhere = self.known.get(&id).is_some_and(|it| it.name != endpoint.name);
        if is_elsewhere {
            self.remove(&id, touched);
        }
        self.by_name.entry(name.clone()).or_default().insert(id.clone());
        self.known.insert(id, endpoint);
        touched.insert(name);
    }

    fn remove(&mut self, id: &ServiceId, touched: &mut BTreeSet<String>) {
        let Some(gone) = self.known.remove(id) else { return };
        let name = gone.name.to_string();
        if let Some(ids) = self.by_name.get_mut(&name) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_name.remove(&name);
            }
        }
        touched.insert(name);
    }
}
