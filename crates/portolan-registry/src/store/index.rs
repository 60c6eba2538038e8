//! Which instances are at a place, and which instance replaced the ones of an id.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use portolan_core::{ServiceEndpoint, ServiceId};

use super::decide::{Concerned, Known};
use super::owner::{Owner, Place, Registrant};
use crate::Command;

/// Finds the instances that a command concerns besides the one of its id.
#[derive(Debug, Default)]
pub(crate) struct Index {
    places: HashMap<Place, Vec<ServiceId>>,
    /// The instances whose owners have fenced an incarnation of another id.
    successors: HashMap<ServiceId, Vec<ServiceId>>,
    /// The number of instances of each host and identity that registered any.
    registrants: HashMap<Registrant, usize>,
}

// === impl Index ===

impl Index {
    /// The index of these instances.
    pub(crate) fn of(instances: &[(Arc<ServiceEndpoint>, Owner)]) -> Self {
        let mut index = Self::default();
        index.places.reserve(instances.len());
        instances.iter().for_each(|(endpoint, owner)| index.insert(endpoint, owner));
        index
    }

    pub(crate) fn insert(&mut self, endpoint: &ServiceEndpoint, owner: &Owner) {
        Place::all(endpoint).for_each(|place| add(&mut self.places, place, &endpoint.id));
        for registrant in owner.registrants() {
            *self.registrants.entry(registrant).or_default() += 1;
        }
        for (id, _) in owner.fenced.iter().filter(|(id, _)| *id != endpoint.id) {
            add(&mut self.successors, id.clone(), &endpoint.id);
        }
    }

    pub(crate) fn remove(&mut self, endpoint: &ServiceEndpoint, owner: &Owner) {
        Place::all(endpoint).for_each(|place| take(&mut self.places, &place, &endpoint.id));
        for registrant in owner.registrants() {
            let Some(count) = self.registrants.get_mut(&registrant) else { continue };
            *count -= 1;
            if *count == 0 {
                self.registrants.remove(&registrant);
            }
        }
        owner.fenced.iter().for_each(|(id, _)| take(&mut self.successors, id, &endpoint.id));
    }

    /// Returns the number of instances that a host or an identity registered.
    pub(crate) fn registered_by(&self, registrant: &Registrant) -> usize {
        self.registrants.get(registrant).copied().unwrap_or(0)
    }

    /// Returns the instances that a command may concern; `known` finds the one of an id.
    pub(crate) fn concerned<'a>(
        &self,
        command: &Command,
        known: impl Fn(&ServiceId) -> Option<Known<'a>>,
    ) -> Concerned<'a> {
        let id = command.id();
        let neighbours = self.neighbours(&id, &command.places());
        Concerned {
            known: known(&id),
            successor: self.successor(&id).and_then(&known),
            neighbours: neighbours.iter().filter_map(&known).collect(),
        }
    }

    /// Returns the instances at these places, except this one.
    fn neighbours(&self, own: &ServiceId, places: &[Place]) -> Vec<ServiceId> {
        let mut ids: Vec<_> = places
            .iter()
            .filter_map(|place| self.places.get(place))
            .flatten()
            .filter(|id| *id != own)
            .cloned()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Returns the newest instance that replaced one of this id.
    fn successor(&self, id: &ServiceId) -> Option<&ServiceId> {
        self.successors.get(id)?.last()
    }
}

fn add<K: Hash + Eq>(map: &mut HashMap<K, Vec<ServiceId>>, key: K, id: &ServiceId) {
    let ids = map.entry(key).or_default();
    if !ids.contains(id) {
        ids.push(id.clone());
    }
}

fn take<K: Hash + Eq>(map: &mut HashMap<K, Vec<ServiceId>>, key: &K, id: &ServiceId) {
    let Some(ids) = map.get_mut(key) else { return };
    ids.retain(|kept| kept != id);
    if ids.is_empty() {
        map.remove(key);
    }
}
