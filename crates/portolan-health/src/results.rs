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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_result_has_its_time_and_latency_and_the_counts() {
        let (results, id) = (LastResults::default(), "api".parse::<ServiceId>().unwrap());
        assert_eq!(results.get(&id), None);
        let before = Timestamp::now();
        for result in [HealthStatus::Passing, HealthStatus::Warning, HealthStatus::Critical] {
            results.add(&id, result, Duration::from_millis(3));
        }
        let last = results.get(&id).unwrap();
        assert!(last.checked_at >= before);
        assert_eq!((last.result, last.latency), (HealthStatus::Critical, Duration::from_millis(3)));
        assert_eq!((last.successes, last.failures), (2, 1));
        assert_eq!((last.consecutive_successes, last.consecutive_failures), (0, 1));
    }

    #[test]
    fn reset_begins_the_counts_of_one_instance_again() {
        let (results, api) = (LastResults::default(), "api".parse::<ServiceId>().unwrap());
        let db = "db".parse::<ServiceId>().unwrap();
        for id in [&api, &api, &db] {
            results.add(id, HealthStatus::Passing, Duration::ZERO);
        }
        results.reset(&api);
        assert_eq!((results.get(&api), results.len()), (None, 1));
        results.add(&api, HealthStatus::Critical, Duration::ZERO);
        let counts = |id| results.get(id).map(|it| (it.successes, it.failures));
        assert_eq!((counts(&api), counts(&db)), (Some((0, 1)), Some((1, 0))));
    }
}
