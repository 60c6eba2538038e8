//! The last results of checks, by instance.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::{CheckResults, HealthStatus, ServiceId};

/// The results of the checks of instances, in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct LastResults(Arc<Mutex<HashMap<ServiceId, CheckResults>>>);

// === impl LastResults ===

impl LastResults {
    /// Returns the results of an instance, if it was checked.
    pub fn get(&self, id: &ServiceId) -> Option<CheckResults> {
        self.0.lock().get(id).cloned()
    }

    /// Replaces the results of an instance by those that another monitor reports.
    pub fn set(&self, id: ServiceId, results: CheckResults) {
        self.0.lock().insert(id, results);
    }

    /// Forgets the results of an instance: its counts begin again with the next check. Its health stays as it is.
    pub fn reset(&self, id: &ServiceId) {
        self.0.lock().remove(id);
    }

    /// Forgets the results of every other instance.
    pub fn retain(&self, keep: impl Fn(&ServiceId) -> bool) {
        self.0.lock().retain(|id, _| keep(id));
    }

    /// Returns the number of instances that have results.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Returns whether no instance has results.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn add(&self, id: &ServiceId, result: HealthStatus, latency: Duration) {
        let now = Timestamp::now();
        let mut results = self.0.lock();
        match results.get_mut(id) {
            Some(known) => known.add(result, latency, now),
            None => {
                let mut first = CheckResults::begun_at(now);
                first.add(result, latency, now);
                results.insert(id.clone(), first);
            }
        }
    }
}
