//! Deduplicates the events of a watch, which come from two sources.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, ServiceId};

/// The instances as the watch last reported them.
#[derive(Default)]
pub(super) struct SeenEndpoints {
    reported: HashMap<ServiceId, Arc<ServiceEndpoint>>,
    has_snapshot: bool,
}

// === impl SeenEndpoints ===

impl SeenEndpoints {
    /// Returns whether the first snapshot was reported.
    pub(super) fn has_snapshot(&self) -> bool {
        self.has_snapshot
    }

    /// Returns the known instances as the first snapshot.
    pub(super) fn snapshot(&mut self) -> ServiceEvent {
        self.has_snapshot = true;
        let mut endpoints: Vec<_> = self.reported.values().cloned().collect();
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        ServiceEvent {
            revision: Revision::default(),
            change: Change::Snapshot { endpoints, incomplete: false },
        }
    }

    /// Applies an event and returns it if it changes anything.
    pub(super) fn apply(&mut self, mut event: ServiceEvent) -> Option<ServiceEvent> {
        match &mut event.change {
            Change::Snapshot { endpoints, incomplete } => {
                if *incomplete {
                    // Instances that have not registered again yet are not gone.
                    let given: HashSet<_> = endpoints.iter().map(|e| e.id.clone()).collect();
                    let kept = self.reported.values().filter(|known| !given.contains(&known.id));
                    endpoints.extend(kept.cloned());
                }
                let now: HashMap<_, _> =
                    endpoints.iter().map(|e| (e.id.clone(), Arc::clone(e))).collect();
                let known = self.has_snapshot && same_all(&self.reported, &now);
                self.has_snapshot = true;
                self.reported = now;
                (!known).then_some(event)
            }
            Change::Deregistered { endpoint } | Change::Expired { endpoint } => {
                self.reported.remove(&endpoint.id).map(|_| event)
            }
            Change::Registered { endpoint }
            | Change::Updated { endpoint }
            | Change::Health { endpoint } => {
                let endpoint = Arc::clone(endpoint);
                let before = self.reported.insert(endpoint.id.clone(), Arc::clone(&endpoint));
                match before {
                    Some(before) if same(&before, &endpoint) => return None,
                    // An instance is reported as registered only once.
                    Some(_) if matches!(event.change, Change::Registered { .. }) => {
                        event.change = Change::Updated { endpoint };
                    }
                    _ => {}
                }
                Some(event)
            }
        }
    }
}

fn same(before: &ServiceEndpoint, now: &ServiceEndpoint) -> bool {
    before.same_contents(now) && before.health == now.health
}

fn same_all(
    before: &HashMap<ServiceId, Arc<ServiceEndpoint>>,
    now: &HashMap<ServiceId, Arc<ServiceEndpoint>>,
) -> bool {
    let known = |(id, now): (_, &Arc<_>)| before.get(id).is_some_and(|before| same(before, now));
    before.len() == now.len() && now.iter().all(known)
}

#[cfg(test)]
mod tests;
