//! The one that changes things: takes commands from the queue to the store, and what the store has
//! committed to the view.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use portolan_core::{Change, Revision, ServiceEvent};
use portolan_metrics::Metrics;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{Span, debug, warn};

use crate::store::{Committed, Memory, Store};
use crate::view::View;
use crate::{Command, CommandOutcome, RegistryError, Source, audit};

/// How many requests are carried out before their changes are told together.
const BATCH: usize = 64;

/// The one hand that writes. Does nothing until [`RegistryTask::run`] does.
#[derive(Debug)]
pub struct RegistryTask<S = Memory> {
    store: S,
    queue: mpsc::Receiver<Request>,
    view_updater: ViewUpdater,
    cleanup_interval: Duration,
}

/// Commands that wait for the writer, and where it shall answer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) commands: Vec<Command>,
    pub(crate) source: Source,
    /// The caller's, for what is logged on its behalf.
    pub(crate) span: Span,
    pub(crate) reply: oneshot::Sender<Outcomes>,
}

/// What came of each command.
pub(crate) type Outcomes = Vec<Result<CommandOutcome, RegistryError>>;

/// Where what was committed is entered. Whatever ends the writer also ends the watches.
#[derive(Debug)]
struct ViewUpdater {
    view: Arc<View>,
    metrics: Metrics,
    revision: Revision,
}

// === impl RegistryTask ===

impl<S: Store> RegistryTask<S> {
    pub(crate) fn new(
        store: S,
        queue: mpsc::Receiver<Request>,
        view: Arc<View>,
        metrics: Metrics,
        cleanup_interval: Duration,
    ) -> Self {
        let view_updater = ViewUpdater { view, metrics, revision: Revision::default() };
        Self { store, queue, view_updater, cleanup_interval }
    }

    /// Writes until the shutdown, or until nobody is left who could ask for anything. What was
    /// taken into the queue by then is still carried out and answered; then all watches end.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut cleanup =
            interval_at(Instant::now() + self.cleanup_interval, self.cleanup_interval);
        cleanup.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                // What asks comes before what ends: a sign of life that is here already counts.
                // Nothing starves by it, because whoever serves requests also catches up with
                // the store.
                biased;
                () = &mut shutdown => break,
                _ = cleanup.tick() => self.sweep().await,
                taken = self.queue.recv_many(&mut requests, BATCH) => match taken {
                    0 => break,
                    _ => self.serve(&mut requests).await,
                },
                committed = self.store.next() => self.view_updater.apply(&committed),
            }
        }
        self.queue.close();
        while self.queue.recv_many(&mut requests, BATCH).await > 0 {
            self.serve(&mut requests).await;
        }
    }

    async fn serve(&mut self, requests: &mut Vec<Request>) {
        let mut answers = Vec::with_capacity(requests.len());
        for Request { commands, source, span, reply } in requests.drain(..) {
            let outcomes = self.store.apply(commands, source).await;
            let done = outcomes.iter().flatten();
            span.in_scope(|| done.for_each(|outcome| audit::record(outcome, source)));
            answers.push((reply, outcomes));
        }
        self.catch_up(answers.iter().flat_map(|(_, outcomes)| outcomes)).await;
        for (reply, outcomes) in answers {
            // Who no longer waits for the answer does not miss it.
            drop(reply.send(outcomes));
        }
    }

    /// Enters what the store has ready, and waits for what these outcomes speak of: who is told
    /// that something was done finds it done.
    async fn catch_up(
        &mut self,
        outcomes: impl Iterator<Item = &Result<CommandOutcome, RegistryError>>,
    ) {
        let promised =
            outcomes.flatten().filter_map(CommandOutcome::revision).max().unwrap_or_default();
        while let Some(committed) = self.store.next().now_or_never() {
            self.view_updater.apply(&committed);
        }
        while self.view_updater.revision < promised {
            self.view_updater.apply(&self.store.next().await);
        }
    }

    async fn sweep(&mut self) {
        let missed = self.store.sweep().await;
        match missed {
            0 => debug!("leases looked over"),
            _ => warn!(missed, "Leases had ended unnoticed by the timer queue"),
        }
    }
}

// === impl ViewUpdater ===

impl ViewUpdater {
    fn apply(&mut self, committed: &[Committed]) {
        for (name, critical) in self.view.apply(committed) {
            self.metrics.unhealthy_services(name.as_str(), critical);
        }
        committed.iter().for_each(|committed| self.note(committed));
    }

    fn note(&mut self, committed: &Committed) {
        match committed {
            Committed::Renewed(_) => {}
            Committed::Reset { revision, .. } => self.revision = *revision,
            Committed::Changed(event) => {
                self.revision = event.revision;
                self.count(event);
            }
        }
    }

    fn count(&self, event: &ServiceEvent) {
        let Some(endpoint) = event.change.endpoint() else { return };
        match event.change {
            Change::Registered { .. } => self.metrics.service_registered(endpoint.name.as_str()),
            Change::Deregistered { .. } => {
                self.metrics.service_deregistered(endpoint.name.as_str());
            }
            Change::Expired { .. } => {
                self.metrics.service_deregistered(endpoint.name.as_str());
                audit::expired(endpoint, event.revision);
            }
            Change::Snapshot { .. } | Change::Updated { .. } | Change::Health { .. } => {}
        }
    }
}

impl Drop for ViewUpdater {
    fn drop(&mut self) {
        self.view.close();
    }
}
