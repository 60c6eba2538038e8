//! A selected instance, and what became of the request that was sent to it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use portolan_core::ServiceEndpoint;

use super::instance::Instance;
use super::load::PendingKey;
use super::set::InstanceSet;

/// An instance that was selected for one request. It dereferences to its [`ServiceEndpoint`].
///
/// The request counts as pending until [`complete`](Self::complete), [`fail`](Self::fail) or the drop. A drop means that
/// the caller gave up: it says only that the instance took at least this long.
#[must_use = "the request counts as pending until this is dropped"]
pub struct PickedInstance {
    instance: Arc<Instance>,
    set: Arc<InstanceSet>,
    pending: Option<PendingKey>,
}

// === impl PickedInstance ===

impl PickedInstance {
    pub(super) fn new(instance: Arc<Instance>, set: Arc<InstanceSet>) -> Self {
        let pending = Some(instance.load.begin());
        Self { instance, set, pending }
    }

    /// Returns the instance.
    pub fn endpoint(&self) -> &Arc<ServiceEndpoint> {
        &self.instance.endpoint
    }

    /// Ends the request: the instance answered. The time since the selection counts as its latency.
    pub fn complete(mut self) {
        if let Some(pending) = self.pending.take() {
            self.instance.load.complete(pending);
        }
    }

    /// Ends the request: the instance could not be reached, or did not answer in time. For a while it is selected only if there
    /// is no other.
    pub fn fail(self) {
        self.set.report_failure(&self.instance.endpoint);
    }
}

impl Deref for PickedInstance {
    type Target = ServiceEndpoint;
    fn deref(&self) -> &ServiceEndpoint {
        &self.instance.endpoint
    }
}

impl Drop for PickedInstance {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.instance.load.abandon(pending);
        }
    }
}

impl fmt::Debug for PickedInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PickedInstance").field(&self.instance.endpoint.address()).finish()
    }
}
