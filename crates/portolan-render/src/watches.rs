//! The watches of the services that a template names.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use portolan_client::{DiscoverError, DiscoveryClient, ServiceWatch};
use portolan_core::{Change, ServiceId, ServiceName};
use tracing::debug;

/// One watch for each service.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    open: BTreeMap<ServiceName, ServiceWatch>,
    /// The instances that the watches have reported as gone.
    removed: BTreeSet<ServiceId>,
}

// === impl Watches ===

impl Watches {
    /// Opens the watches that are missing, and drops those of services that are no longer named.
    pub(crate) async fn follow(
        &mut self,
        client: &DiscoveryClient,
        names: &BTreeSet<ServiceName>,
    ) -> Result<(), DiscoverError> {
        self.open.retain(|name, _| names.contains(name));
        for name in names {
            if self.open.contains_key(name) {
                continue;
            }
            match client.watch(name).await {
                Ok(watch) => _ = self.open.insert(name.clone(), watch),
                // Without a source of changes the services are looked up periodically.
                Err(DiscoverError::NothingToWatch) => {
                    debug!(service_name = %name, "Nothing to watch");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the next change of a service. A watch that has ended is opened again by the next [`follow`](Self::follow).
    pub(crate) async fn changed(&mut self) {
        poll_fn(|context| self.poll_changed(context)).await;
    }

    /// Returns the instances that were reported as gone since the last call.
    pub(crate) fn take_removed(&mut self) -> BTreeSet<ServiceId> {
        mem::take(&mut self.removed)
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { open, removed } = self;
        let mut has_changed = false;
        open.retain(|_, watch| {
            loop {
                match watch.poll_next_unpin(context) {
                    Poll::Ready(Some(event)) => {
                        has_changed = true;
                        note_removal(&event.change, removed);
                    }
                    Poll::Ready(None) => return false,
                    Poll::Pending => return true,
                }
            }
        });
        if has_changed { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn note_removal(change: &Change, removed: &mut BTreeSet<ServiceId>) {
    match change.endpoint() {
        Some(endpoint) if change.is_removal() => _ = removed.insert(endpoint.id.clone()),
        Some(endpoint) => _ = removed.remove(&endpoint.id),
        None => {}
    }
}
