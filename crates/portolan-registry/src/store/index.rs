//! Which instances are at a place, and which instance replaced the ones of an id.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use portolan_core::{ServiceEndpoint, ServiceId};

use super::decide::{Concerned, Known};
use super::owner::{Owner, Place, Registrant};
use crate::Command;

/// Finds the instances that a command concerns besides the one of its id.
#[derive(Debug, Default)]
pub(crate) struct Index {
    places: HashMap<Place, Ids>,
    /// The instances whose owners have fenced an incarnation of another id.
    successors: HashMap<ServiceId, Ids>,
    /// The number of instances of each host and identity that registered any.
    registrants: HashMap<Registrant, usize>,
}

/// At least one id, and nearly always just one, without an allocation.
#[derive(Debug)]
enum Ids {
    One(ServiceId),
    /// In the order in which they came.
    More(Vec<ServiceId>),
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
            .flat_map(Ids::as_slice)
            .filter(|id| *id != own)
            .cloned()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Returns the newest instance that replaced one of this id.
    fn successor(&self, id: &ServiceId) -> Option<&ServiceId> {
        self.successors.get(id)?.as_slice().last()
    }
}

// === impl Ids ===

impl Ids {
    fn as_slice(&self) -> &[ServiceId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::More(ids) => ids,
        }
    }

    fn add(&mut self, id: &ServiceId) {
        match self {
            Self::One(one) if one == id => {}
            Self::One(one) => *self = Self::More(vec![one.clone(), id.clone()]),
            Self::More(ids) if ids.contains(id) => {}
            Self::More(ids) => ids.push(id.clone()),
        }
    }

    /// Removes an id; false if none is left.
    fn remove(&mut self, id: &ServiceId) -> bool {
        match self {
            Self::One(one) => one != id,
            Self::More(ids) => {
                ids.retain(|kept| kept != id);
                !ids.is_empty()
            }
        }
    }
}

fn add<K: Hash + Eq>(map: &mut HashMap<K, Ids>, key: K, id: &ServiceId) {
    match map.entry(key) {
        Entry::Occupied(mut ids) => ids.get_mut().add(id),
        Entry::Vacant(place) => _ = place.insert(Ids::One(id.clone())),
    }
}

fn take<K: Hash + Eq>(map: &mut HashMap<K, Ids>, key: &K, id: &ServiceId) {
    if map.get_mut(key).is_some_and(|ids| !ids.remove(id)) {
        map.remove(key);
    }
}
