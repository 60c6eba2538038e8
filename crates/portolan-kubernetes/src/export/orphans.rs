//! Removes objects: all of this exporter, and those that other exporters have left behind.

use std::collections::BTreeSet;

use kube::Error;
use tracing::info;

use crate::objects::{MANAGED_BY, SLICE_MANAGED_BY};

use super::exporter::Exporter;
use super::plan::exporter_of;
use super::problem;
use super::reconcile::Wanted;
use super::write::delete;

// === impl Exporter ===

impl Exporter {
    /// Deletes everything that this exporter has written.
    pub(crate) async fn remove_everything(&mut self) {
        self.mark_everything();
        for name in std::mem::take(&mut self.dirty) {
            let outcome = self.objects.reconcile(&self.view, &name, Wanted::Removed).await;
            self.note(outcome);
        }
    }

    /// Removes the objects of other exporters whose Lease has ended.
    pub(super) async fn collect(&mut self) {
        let services = self
            .view
            .services()
            .filter_map(|it| exporter_of(it.metadata.labels.as_ref(), MANAGED_BY));
        let slices = self
            .view
            .all_slices()
            .filter_map(|it| exporter_of(it.metadata.labels.as_ref(), SLICE_MANAGED_BY));
        let is_other = |exporter: &&str| *exporter != self.objects.writer.name;
        let others: BTreeSet<&str> = services.chain(slices).filter(is_other).collect();
        if others.is_empty() {
            return;
        }
        let ended = match self.lease.ended(others.into_iter()).await {
            Ok(ended) => ended,
            Err(error) => return self.report(problem::LEASE, &problem::described(&error)),
        };
        for exporter in ended {
            info!(exporter, "Lease of an exporter has ended, removing its objects");
            if let Err(error) = self.collect_of(&exporter).await {
                self.report(&exporter, &problem::described(&error));
            }
        }
    }

    async fn collect_of(&self, exporter: &str) -> Result<(), Error> {
        let is_of = |labels, manager| exporter_of(labels, manager) == Some(exporter);
        for slice in self.view.all_slices() {
            if is_of(slice.metadata.labels.as_ref(), SLICE_MANAGED_BY) {
                delete(&self.objects.slices, slice).await?;
            }
        }
        for service in self.view.services() {
            if is_of(service.metadata.labels.as_ref(), MANAGED_BY) {
                delete(&self.objects.services, service).await?;
            }
        }
        Ok(())
    }
}
