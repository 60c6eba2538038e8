//! What a watch has told so far, so that nothing is told twice.

use std::collections::HashMap;
use std::sync::Arc;

use portolan_core::{Change, Revision, ServiceEndpoint, ServiceEvent, ServiceId};

/// The instances as they were last told.
#[derive(Default)]
pub(super) struct SeenEndpoints {
    told: HashMap<ServiceId, Arc<ServiceEndpoint>>,
    primed: bool,
}

// === impl SeenEndpoints ===

impl SeenEndpoints {
    /// Whether the first snapshot was told.
    pub(super) fn is_primed(&self) -> bool {
        self.primed
    }

    /// Everything there is, as the first snapshot.
    pub(super) fn primed(&mut self) -> ServiceEvent {
        self.primed = true;
        let mut endpoints: Vec<_> = self.told.values().cloned().collect();
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        ServiceEvent { revision: Revision::default(), change: Change::Snapshot { endpoints } }
    }

    /// The event, where it is news.
    pub(super) fn told(&mut self, mut event: ServiceEvent) -> Option<ServiceEvent> {
        match &mut event.change {
            Change::Snapshot { endpoints } => {
                let now: HashMap<_, _> =
                    endpoints.iter().map(|e| (e.id.clone(), Arc::clone(e))).collect();
                let known = self.primed && same_all(&self.told, &now);
                self.primed = true;
                self.told = now;
                (!known).then_some(event)
            }
            Change::Deregistered { endpoint } | Change::Expired { endpoint } => {
                self.told.remove(&endpoint.id).map(|_| event)
            }
            Change::Registered { endpoint }
            | Change::Updated { endpoint }
            | Change::Health { endpoint } => {
                let endpoint = Arc::clone(endpoint);
                let before = self.told.insert(endpoint.id.clone(), Arc::clone(&endpoint));
                match before {
                    Some(before) if same(&before, &endpoint) => return None,
                    // It is told of as new only once.
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
