//! Carries changes of the registry to the cluster, and undoes what others change of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use portolan_core::{Backoff, Change, IpNetwork, ServiceId};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::changes::{ObjectChange, SourceChange};
use crate::known::Key;
use crate::objects::{EndpointSlice, MANAGED_BY, SERVICE_NAME, Service};
use crate::view::View;

use super::instances::Instances;
use super::lease::{ExporterLease, Holder};
use super::offer::{Refusal, offers};
use super::plan::Offered;
use super::ports::is_label;
use super::problem;
use super::reconcile::{Objects, Outcome, Wanted, Written};

/// How many services are written at a time.
const TOGETHER: usize = 8;
/// How many services are written before anything else is done.
const AT_ONCE: usize = 200;
/// The waits before what has failed is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const JITTER: f64 = 0.3;
/// How many instances without a usable address are remembered, so that each is reported once.
const REPORTED: usize = 10_000;

/// The state of both sides, and what differs.
pub(crate) struct Exporter {
    pub(crate) view: View,
    pub(crate) instances: Instances,
    pub(crate) objects: Objects,
    pub(crate) lease: ExporterLease,
    networks: Vec<IpNetwork>,
    /// How long a Service without instances stays.
    keep: Duration,
    is_listed: bool,
    /// The services whose objects may differ.
    pub(super) dirty: BTreeSet<String>,
    /// Those that have failed, and are tried again.
    failed: BTreeSet<String>,
    waits: Backoff,
    retry_at: Option<Instant>,
    /// When a Service without instances goes.
    removed_at: BTreeMap<String, Instant>,
    /// The holder of the Lease, as it was last reported.
    holder: Option<Holder>,
    problems: HashMap<String, String>,
    refusals: HashMap<ServiceId, Refusal>,
}

// === impl Exporter ===

impl Exporter {
    pub(crate) fn new(
        objects: Objects,
        lease: ExporterLease,
        networks: Vec<IpNetwork>,
        keep: Duration,
    ) -> Self {
        Self {
            view: View::default(),
            instances: Instances::default(),
            objects,
            lease,
            networks,
            keep,
            is_listed: false,
            dirty: BTreeSet::new(),
            failed: BTreeSet::new(),
            waits: Backoff::new(FIRST_WAIT, LONGEST_WAIT).jitter(JITTER),
            retry_at: None,
            removed_at: BTreeMap::new(),
            holder: None,
            problems: HashMap::new(),
            refusals: HashMap::new(),
        }
    }

    /// When [`Self::flush`] is due although nothing has changed.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        self.retry_at.into_iter().chain(self.removed_at.values().copied()).min()
    }

    /// Notes a change of the registry.
    pub(crate) fn apply_instances(&mut self, change: Change) {
        let was_known = self.instances.is_known();
        let is_snapshot = matches!(change, Change::Snapshot { .. });
        if let Some(gone) = change.endpoint().filter(|_| change.is_removal()) {
            self.refusals.remove(&gone.id);
        }
        let touched = self.instances.apply(change);
        self.dirty.extend(touched);
        if is_snapshot || !was_known {
            self.mark_everything();
        }
    }

    /// Notes a change of the cluster.
    pub(crate) fn apply_cluster(&mut self, change: SourceChange) {
        let touched = self.view.apply(change);
        self.dirty.extend(touched.services.into_iter().map(|key| key.name));
        if touched.listed.is_some() && !self.is_listed {
            self.is_listed = true;
            self.mark_everything();
        }
    }

    /// Renews the Lease, and removes what exporters have left behind whose Lease has ended.
    pub(crate) async fn renew(&mut self) {
        match self.lease.renew().await {
            Ok(holder) => {
                self.problems.remove(problem::LEASE);
                if self.holder.as_ref() != Some(&holder) {
                    match &holder {
                        Holder::Own => info!("Lease taken, this replica exports"),
                        Holder::Other(other) => {
                            info!(
                                holder = other,
                                "Another replica exports, waiting for its Lease to end"
                            );
                        }
                    }
                    self.holder = Some(holder);
                    self.mark_everything();
                }
            }
            // Another replica was faster.
            Err(error) if problem::is_conflict(&error) => {}
            Err(error) => self.report(problem::LEASE, &problem::described(&error)),
        }
        if self.lease.is_held() && self.is_listed {
            self.collect().await;
        }
    }

    /// Writes what differs, if both sides are known and this replica holds the Lease.
    pub(crate) async fn flush(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.dirty.append(&mut self.failed);
        }
        let due = self.removed_at.iter().filter(|(_, at)| **at <= now);
        self.dirty.extend(due.map(|(name, _)| name.clone()).collect::<Vec<_>>());
        if !self.is_listed || !self.instances.is_known() || !self.lease.is_held() {
            // Timers that are due would end each wait at once: taking the Lease marks everything.
            self.removed_at.retain(|_, at| *at > now);
            return;
        }
        let mut names = std::mem::take(&mut self.dirty);
        if let Some(first_later) = names.iter().nth(AT_ONCE).cloned() {
            // The Lease is renewed between two rounds.
            self.dirty = names.split_off(&first_later);
            self.retry_at = Some(now);
        }
        let wanted: Vec<_> = names.into_iter().map(|name| self.wanted(name, now)).collect();
        let (objects, view) = (&self.objects, &self.view);
        let outcomes = stream::iter(wanted)
            .map(|(name, wanted)| async move { objects.reconcile(view, &name, wanted).await });
        let outcomes: Vec<_> = outcomes.buffer_unordered(TOGETHER).collect().await;
        outcomes.into_iter().for_each(|outcome| self.note(outcome));
    }

    fn wanted(&mut self, name: String, now: Instant) -> (String, Wanted) {
        let offered = self.offered(&name);
        if !offered.is_empty() {
            self.removed_at.remove(&name);
            return (name, Wanted::Shown(offered));
        }
        if !self.has_own_service(&name) {
            self.removed_at.remove(&name);
            return (name, Wanted::Emptied);
        }
        let at = *self.removed_at.entry(name.clone()).or_insert(now + self.keep);
        if at > now {
            return (name, Wanted::Emptied);
        }
        self.removed_at.remove(&name);
        (name, Wanted::Removed)
    }

    fn has_own_service(&self, name: &str) -> bool {
        let key = Key { namespace: self.objects.namespace.clone(), name: name.to_owned() };
        let owns = |service: &Service| {
            self.objects.writer.owns(service.metadata.labels.as_ref(), MANAGED_BY)
        };
        self.view.service(&key).is_some_and(owns)
    }

    /// Returns the instances that pods can reach, and reports each other one once.
    fn offered(&mut self, name: &str) -> Vec<Offered> {
        let known: Vec<_> = self.instances.of(name).cloned().collect();
        if known.is_empty() {
            self.problems.remove(name);
            return Vec::new();
        }
        if !is_label(name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            self.report(name, &problem::not_a_service_name());
            return Vec::new();
        }
        let mut offered = Vec::new();
        for endpoint in known {
            match offers(&endpoint, &self.networks) {
                Ok(offers) => {
                    self.refusals.remove(&endpoint.id);
                    offered.push((endpoint, offers));
                }
                Err(refusal) => {
                    let is_new = self.refusals.get(&endpoint.id) != Some(&refusal);
                    let is_wanted = !matches!(refusal, Refusal::FromCluster(_));
                    if is_new && is_wanted && self.refusals.len() < REPORTED {
                        let (id, remedy) = (&endpoint.id, refusal.remedy());
                        warn!(%id, reason = %refusal, remedy, "Instance is not exported");
                        self.refusals.insert(endpoint.id.clone(), refusal);
                    }
                }
            }
        }
        offered
    }

    pub(super) fn note(&mut self, outcome: Outcome) {
        for (key, version, content) in outcome.written {
            self.objects.written.insert(key, (version, content));
        }
        for change in outcome.changes {
            self.forget_deleted(&change);
            self.view.apply(change);
        }
        match outcome.result {
            Ok(()) => {
                self.failed.remove(&outcome.name);
                if self.problems.remove(&outcome.name).is_some() {
                    info!(service = outcome.name, "Service is exported now");
                }
                if self.failed.is_empty() {
                    self.waits.reset();
                }
            }
            Err(failure) => {
                // A Service of somebody else is seen to go by the watch.
                if problem::is_temporary(&failure) {
                    self.failed.insert(outcome.name.clone());
                    let wait = self.waits.next_wait();
                    self.retry_at.get_or_insert_with(|| Instant::now() + wait);
                }
                if !problem::is_race(&failure) {
                    self.report(&outcome.name, &problem::text(&failure));
                }
            }
        }
    }

    fn forget_deleted(&mut self, change: &SourceChange) {
        let key = match &change.change {
            ObjectChange::Service(Event::Delete(service)) => Written::Service(service.name_any()),
            ObjectChange::Slice(Event::Delete(slice)) => Written::Slice(slice.name_any()),
            _ => return,
        };
        self.objects.written.remove(&key);
    }

    pub(super) fn mark_everything(&mut self) {
        self.dirty.extend(self.instances.names().cloned());
        let writer = &self.objects.writer;
        let services = self.view.services();
        let own = services.filter(|it| writer.owns(it.metadata.labels.as_ref(), MANAGED_BY));
        self.dirty.extend(own.map(|it| it.name_any()));
        let slices = self.view.all_slices().filter(|slice| self.objects.owns_slice(slice));
        let of_slice = |slice: &EndpointSlice| slice.labels().get(SERVICE_NAME).cloned();
        self.dirty.extend(slices.filter_map(of_slice));
    }

    /// Reports a problem once, until it is another one.
    pub(super) fn report(&mut self, subject: &str, (text, remedy): &(String, String)) {
        let before = self.problems.insert(subject.to_owned(), text.clone());
        if before.as_ref() != Some(text) {
            warn!(subject, error = text, remedy, "Not exported");
        }
    }
}
