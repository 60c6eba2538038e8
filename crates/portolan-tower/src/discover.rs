//! The stream of changes of the instances.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use portolan_client::ServiceInstances;
use portolan_core::{Incarnation, ServiceEndpoint, ServiceId};
use tokio_stream::wrappers::WatchStream;
use tower::discover::Change;

use crate::Reporter;
use crate::instance_service::InstanceService;

/// The usable instances of a service as tower's [`Discover`](tower::discover::Discover): a service is inserted for each
/// instance, replaced when the instance has moved or was restarted, and removed when the instance is not usable any more.
pub struct InstanceDiscover<M, S> {
    instances: ServiceInstances,
    changes: WatchStream<Usable>,
    make: M,
    inserted: BTreeMap<ServiceId, Run>,
    ready: VecDeque<Step>,
    service: PhantomData<fn() -> S>,
}

type Usable = Arc<[Arc<ServiceEndpoint>]>;

/// What tells one run of an instance from another.
type Run = (String, Option<Incarnation>);

/// A change that was not returned yet.
enum Step {
    Insert(Arc<ServiceEndpoint>),
    Remove(ServiceId),
}

// === impl InstanceDiscover ===

impl<M, S> InstanceDiscover<M, S>
where
    M: Fn(&ServiceEndpoint) -> S,
{
    /// Returns the changes of these instances, with a service that `make` creates for each. It must not block: a
    /// service connects when it is polled.
    pub fn new(instances: ServiceInstances, make: M) -> Self {
        let changes = WatchStream::new(instances.changes());
        let (inserted, ready) = (BTreeMap::new(), VecDeque::new());
        Self { instances, changes, make, inserted, ready, service: PhantomData }
    }

    /// Compares the usable instances with those that were inserted.
    fn update(&mut self, usable: &[Arc<ServiceEndpoint>]) {
        let is_usable = |id: &ServiceId| usable.iter().any(|endpoint| endpoint.id == *id);
        // The new ones first: the balancer never has none without need.
        for endpoint in usable {
            let run = (endpoint.address(), endpoint.incarnation);
            if self.inserted.get(&endpoint.id) != Some(&run) {
                self.inserted.insert(endpoint.id.clone(), run);
                self.ready.push_back(Step::Insert(Arc::clone(endpoint)));
            }
        }
        let gone: Vec<ServiceId> =
            self.inserted.keys().filter(|id| !is_usable(id)).cloned().collect();
        for id in gone {
            self.inserted.remove(&id);
            self.ready.push_back(Step::Remove(id));
        }
    }
}

// Nothing is pinned in its place.
impl<M, S> Unpin for InstanceDiscover<M, S> {}

impl<M, S> Stream for InstanceDiscover<M, S>
where
    M: Fn(&ServiceEndpoint) -> S,
{
    type Item = Result<Change<ServiceId, InstanceService<S>>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The latest state only: a service that a later state removes need not be made.
        while let Poll::Ready(usable) = self.changes.poll_next_unpin(cx) {
            match usable {
                Some(usable) => self.update(&usable),
                None => break,
            }
        }
        let Some(step) = self.ready.pop_front() else { return Poll::Pending };
        Poll::Ready(Some(Ok(match step {
            Step::Remove(id) => Change::Remove(id),
            Step::Insert(endpoint) => {
                let service = (self.make)(&endpoint);
                let id = endpoint.id.clone();
                let reporter = Reporter { instances: self.instances.clone(), endpoint };
                Change::Insert(id, InstanceService::new(service, reporter))
            }
        })))
    }
}

impl<M, S> fmt::Debug for InstanceDiscover<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceDiscover")
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
