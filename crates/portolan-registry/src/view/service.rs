//! One service: its instances, its part of the history and its watches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use portolan_core::{Revision, ServiceEndpoint, ServiceEvent, ServiceId};

use super::answers::{Answers, Stamp};
use super::waiters::Waiters;
use crate::store::decide::is_critical;

#[derive(Debug)]
pub(super) struct Service {
    endpoints: BTreeMap<ServiceId, Arc<ServiceEndpoint>>,
    log: VecDeque<Arc<ServiceEvent>>,
    /// The newest revision of this service that was dropped from the log.
    compacted: Revision,
    critical: usize,
    pub(super) waiters: Waiters,
    stamp: Stamp,
    answers: Answers,
}

// === impl Service ===

impl Service {
    /// Creates a service without instances, whose log starts after the revision.
    pub(super) fn new(compacted: Revision) -> Self {
        Self {
            endpoints: BTreeMap::new(),
            log: VecDeque::new(),
            compacted,
            critical: 0,
            waiters: Waiters::default(),
            stamp: Stamp::next(),
            answers: Answers::default(),
        }
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Arc<ServiceEndpoint>> {
        self.endpoints.values()
    }

    /// Its state at this moment, for [`answers`](Self::answers).
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The answers to lookups since the last change.
    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    pub(super) fn critical(&self) -> usize {
        self.critical
    }

    /// The revision at which it changed last.
    pub(super) fn latest(&self) -> Revision {
        self.log.back().map_or(self.compacted, |event| event.revision)
    }

    /// Whether it can be removed.
    pub(super) fn is_idle(&self) -> bool {
        self.endpoints.is_empty() && self.log.is_empty() && self.waiters.is_empty()
    }

    /// The events after the revision; `None` if the log no longer has them.
    pub(super) fn since(
        &self,
        revision: Revision,
    ) -> Option<impl Iterator<Item = &Arc<ServiceEvent>>> {
        let start = self.log.partition_point(|event| event.revision <= revision);
        (self.compacted <= revision).then(|| self.log.range(start..))
    }

    pub(super) fn put(&mut self, endpoint: &Arc<ServiceEndpoint>) {
        self.changed();
        let old = self.endpoints.insert(endpoint.id.clone(), Arc::clone(endpoint));
        self.count(old.as_deref(), Some(endpoint));
    }

    pub(super) fn remove(&mut self, id: &ServiceId) {
        self.changed();
        let old = self.endpoints.remove(id);
        self.count(old.as_deref(), None);
    }

    pub(super) fn record(&mut self, event: &Arc<ServiceEvent>) {
        self.changed();
        self.log.push_back(Arc::clone(event));
    }

    /// Drops the events up to the revision.
    pub(super) fn drop_until(&mut self, revision: Revision) {
        self.changed();
        while self.log.pop_front_if(|event| event.revision <= revision).is_some() {}
        self.compacted = revision;
    }

    /// Clears everything but the watches.
    pub(super) fn reset(&mut self, revision: Revision) {
        self.changed();
        self.endpoints.clear();
        self.log.clear();
        self.critical = 0;
        self.compacted = revision;
    }

    /// Forgets what was answered.
    fn changed(&mut self) {
        self.stamp = Stamp::next();
        self.answers.clear();
    }

    fn count(&mut self, old: Option<&ServiceEndpoint>, new: Option<&ServiceEndpoint>) {
        self.critical += usize::from(new.is_some_and(is_critical));
        self.critical -= usize::from(old.is_some_and(is_critical));
    }
}
