//! The handle of a registry.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use portolan_core::{
    Action, HealthReport, Registration, Revision, ServiceAnnouncement, ServiceEndpoint, ServiceId,
    ServiceName,
};
use portolan_metrics::{Metrics, OperationResult};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tracing::Span;

use crate::committer::Request;
use crate::settings::SettingsCallbacks;
use crate::staleness::Staleness;
use crate::store::{self, Feed, Freshness, OpenError, ReadOnly, Receipt, Store};
use crate::updater::{FeedState, Progress, ViewUpdater};
use crate::view::{Lookup, PreparedAnswer, Stamp, View};
use crate::{
    Command, CommandOrigin, CommandOutcome, CommandTarget, EventStream, InvalidRegistryConfig,
    Membership, Query, Recorder, Registered, RegistryConfig, RegistryError, RegistryTask,
    ServiceSettings, WatchQuery,
};

/// The length of the request queue. Callers wait while it is full.
const QUEUE: usize = 256;
/// The deadline of a command. Memory needs microseconds, etcd milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A handle of the registry. Cheap to clone; all clones share the same state.
#[derive(Debug, Clone)]
pub struct Registry {
    queue: mpsc::Sender<Request>,
    view: Arc<View>,
    metrics: Metrics,
    store: &'static str,
    /// The store itself, which ends with the task.
    registrants: Weak<dyn Store>,
    membership: Membership,
    progress: watch::Receiver<Progress>,
    freshness: Freshness,
    max_view_age: Duration,
    read_only: ReadOnly,
    settings_callbacks: SettingsCallbacks,
    /// The greatest index that the view did not reach before a command's deadline.
    overdue: Arc<AtomicU64>,
}

/// Whether a registry can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryStatus {
    /// The store has not delivered its state yet.
    Loading,
    /// The registry serves reads and commands.
    Ready,
    /// The view is older than `max_view_age`, or late: reads return old data, and commands may fail.
    Stale,
    /// The registry is shut down.
    Closed,
}

/// The result of each command.
type Outcomes = Vec<Result<CommandOutcome, RegistryError>>;

/// Opens a registry over the store that the settings select. The caller runs the task and shares
/// the handle.
///
/// # Errors
///
/// If a setting is out of bounds, or the store is not built in or cannot be opened.
pub fn open(
    config: &RegistryConfig,
    metrics: Metrics,
) -> Result<(RegistryTask, Registry), OpenError> {
    let (store, feed) = store::open(config)?;
    Ok(open_over(store, feed, config, metrics))
}

/// Opens a registry over a store that the caller provides, with a feed of it.
pub fn open_over(
    store: Arc<dyn Store>,
    feed: Box<dyn Feed>,
    config: &RegistryConfig,
    metrics: Metrics,
) -> (RegistryTask, Registry) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let now = Instant::now();
    let complete_at =
        if store.has_former_state() { now } else { now + config.heartbeat_interval() };
    let view = Arc::new(View::new(config.history, complete_at));
    let updater = ViewUpdater::new(Arc::clone(&view), metrics.clone(), feed.freshness());
    let recorder = Recorder::new(metrics.clone()).reading(Arc::clone(&view));
    let registry = Registry {
        queue: sender,
        view,
        metrics,
        store: store.name(),
        registrants: Arc::downgrade(&store),
        membership: store.membership(),
        progress: updater.progress(),
        freshness: feed.freshness(),
        max_view_age: config.max_view_age,
        read_only: store.read_only(),
        settings_callbacks: SettingsCallbacks::default(),
        overdue: Arc::default(),
    };
    (RegistryTask { store, feed, queue, updater, recorder }, registry)
}

/// The result of a lookup, as it is counted.
fn result_of(found: bool) -> OperationResult {
    if found { OperationResult::Success } else { OperationResult::Failure }
}

// === impl Registry ===

impl Registry {
    // --- settings

    /// Applies the settings of the store that change while it is open: `ttl_default`, `max_endpoints`, `clients.endpoints`,
    /// `cleanup_interval` and `mass_expiry`.
    ///
    /// # Errors
    ///
    /// If one of them is out of bounds. Nothing has changed.
    pub fn reconfigure(&self, config: &RegistryConfig) -> Result<(), InvalidRegistryConfig> {
        self.registrants.upgrade().map_or(Ok(()), |store| store.reconfigure(config))
    }

    // --- commands

    /// Registers an instance, or renews its lease if the registration is the one that is known.
    ///
    /// # Errors
    ///
    /// [`RegistryError`], as for every command.
    pub async fn register(
        &self,
        registration: Registration,
        origin: CommandOrigin,
    ) -> Result<Registered, RegistryError> {
        match self.execute(Command::Register(registration), origin).await? {
            CommandOutcome::Registered(registered) => Ok(registered),
            _ => unreachable!("the outcome of a registration is Registered"),
        }
    }

    /// Applies a command of this sender.
    ///
    /// # Errors
    ///
    /// [`RegistryError`], as for every command.
    pub async fn execute(
        &self,
        command: Command,
        origin: CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        command.check_origin(&origin)?;
        let outcome = self.apply_checked(vec![command], origin).await.pop();
        outcome.unwrap_or(Err(RegistryError::Closed))
    }

    /// Deregisters an instance.
    pub async fn deregister(&self, target: impl Into<CommandTarget>) -> Result<(), RegistryError> {
        self.execute(Command::Deregister(target.into()), CommandOrigin::local()).await.map(drop)
    }

    /// Renews the lease of an instance.
    pub async fn heartbeat(&self, target: impl Into<CommandTarget>) -> Result<(), RegistryError> {
        self.execute(Command::Heartbeat(target.into()), CommandOrigin::local()).await.map(drop)
    }

    /// Updates the health of an instance. The reason is cut to 512 characters on one line.
    pub async fn update_health(
        &self,
        target: impl Into<CommandTarget>,
        report: HealthReport,
    ) -> Result<(), RegistryError> {
        let command = Command::Health(target.into(), report);
        self.execute(command, CommandOrigin::local()).await.map(drop)
    }

    /// Applies an announcement that was received on a broadcast channel from this address. The health in it
    /// counts only if it is signed and the instance's agent checks it.
    pub async fn import(
        &self,
        announcement: &ServiceAnnouncement,
        from: IpAddr,
        signed: bool,
    ) -> Result<CommandOutcome, RegistryError> {
        let ServiceAnnouncement { action, service, .. } = announcement;
        let target = CommandTarget { id: service.id.clone(), incarnation: service.incarnation };
        let mut commands = match action {
            Action::Deregister => vec![Command::Deregister(target.clone())],
            // Each of them carries the whole registration, so one that was missed does not matter.
            Action::Register | Action::Update | Action::Heartbeat => {
                vec![Command::Register(announced(service))]
            }
        };
        if signed && *action != Action::Deregister && service.is_checked_by_agent() {
            let report = HealthReport::new(service.health, service.health_reason.as_str());
            commands.push(Command::Health(target, report));
        }
        let outcomes = self.apply(commands, CommandOrigin::broadcast(from)).await;
        outcomes.into_iter().next().unwrap_or(Err(RegistryError::Closed))
    }

    /// Applies commands in order, each independently of the others and with an outcome of its own.
    /// Commands of other callers may be applied between them. Once it returns, reads show what it
    /// changed.
    ///
    /// If the caller stops waiting, commands that were queued are committed all the same.
    pub async fn apply(&self, commands: Vec<Command>, origin: CommandOrigin) -> Outcomes {
        let checked: Vec<_> =
            commands.iter().map(|command| command.check_origin(&origin)).collect();
        let accepted = commands.into_iter().zip(&checked).filter(|(_, check)| check.is_ok());
        let accepted: Vec<_> = accepted.map(|(command, _)| command).collect();
        let mut outcomes = self.apply_checked(accepted, origin).await.into_iter();
        let outcome = |check: Result<(), RegistryError>| {
            check.and_then(|()| outcomes.next().unwrap_or(Err(RegistryError::Closed)))
        };
        checked.into_iter().map(outcome).collect()
    }

    // --- reads

    /// Returns the instances that match, ordered by name and id, and the revision at which their
    /// services changed last, from which a watch can resume.
    pub fn lookup(&self, query: &Query) -> (Vec<Arc<ServiceEndpoint>>, Revision) {
        let start = Instant::now();
        let found = self.view.find(query);
        for name in &query.names {
            let first = found.0.binary_search_by(|endpoint| endpoint.name.cmp(name));
            self.metrics.service_lookup(name.as_str(), result_of(first.is_ok()), start.elapsed());
        }
        found
    }

    /// Returns the answer that was kept for a lookup of this service, if the service has not changed since then.
    pub fn prepared(&self, name: &str, lookup: Lookup<'_>) -> Option<PreparedAnswer> {
        let start = Instant::now();
        let (answer, counter) = self.view.prepared(name, lookup)?;
        counter.record(start.elapsed());
        Some(answer)
    }

    /// Takes the state of a service, before the lookup whose answer is to be [kept](Self::keep); `None` if there is no such service.
    pub fn stamp(&self, name: &ServiceName) -> Option<Stamp> {
        self.view.stamp(name)
    }

    /// Keeps the answer to a lookup, unless the service has changed since the stamp was taken.
    pub fn keep(
        &self,
        name: &ServiceName,
        stamp: Stamp,
        lookup: Lookup<'_>,
        answer: PreparedAnswer,
    ) {
        let counter = self.metrics.lookup_counter(name.as_str(), result_of(answer.found));
        self.view.keep(name, stamp, lookup, answer, counter);
    }

    /// Returns the revision of the last change of any service.
    pub fn revision(&self) -> Revision {
        self.view.revision()
    }

    /// Returns an instance.
    pub fn get(&self, id: &ServiceId) -> Option<Arc<ServiceEndpoint>> {
        self.view.get(id)
    }

    /// Returns the number of instances.
    pub fn count(&self) -> usize {
        self.view.count()
    }

    /// Returns the host that registered an instance, if it is known: a proxy may hide it.
    pub fn registrant(&self, id: &ServiceId) -> Option<IpAddr> {
        self.registrants.upgrade()?.registrant(id)
    }

    /// Returns whether a registered instance has sent no heartbeat for half of its TTL or longer, although its lease has not
    /// ended. The time in which this server did not run does not count. Of several servers only the one
    /// that received the registration or its last heartbeat knows.
    pub fn is_heartbeat_late(&self, id: &ServiceId) -> bool {
        self.registrants.upgrade().is_some_and(|store| store.is_heartbeat_late(id))
    }

    /// The settings of services, in the same store.
    pub fn settings(&self) -> ServiceSettings {
        ServiceSettings::new(Weak::clone(&self.registrants), self.store)
            .asking(self.settings_callbacks.clone())
    }

    /// Returns all instances, ordered by name and id.
    pub fn list(&self) -> Vec<Arc<ServiceEndpoint>> {
        self.view.find(&Query::default()).0
    }

    /// Returns whether the registry has just started without its former state, so that instances may be
    /// missing that have not registered again yet. An empty result then means that it is not known.
    pub fn is_incomplete(&self) -> bool {
        self.view.is_incomplete()
    }

    /// Watches services, from now on or from a revision.
    pub fn watch(&self, query: WatchQuery) -> EventStream {
        EventStream::new(Arc::clone(&self.view), query)
    }

    /// The servers over the same store, which decide who checks an endpoint.
    pub fn membership(&self) -> Membership {
        self.membership.clone()
    }

    /// The URLs that the servers over the same store advertise, at most so many.
    pub fn server_urls(&self, limit: usize) -> Vec<Arc<str>> {
        self.membership.urls(limit)
    }

    /// Whether any server over the same store advertises a URL.
    pub fn has_server_urls(&self) -> bool {
        self.membership.has_urls()
    }

    /// Whether the registry can be used.
    pub fn status(&self) -> RegistryStatus {
        // Before the borrow: a second one inside it waits for ever if a writer waits in between.
        let is_stale = self.staleness().is_some();
        match self.progress.borrow().feed {
            FeedState::Loading => RegistryStatus::Loading,
            FeedState::Closed => RegistryStatus::Closed,
            FeedState::Live | FeedState::Lost(_) if is_stale => RegistryStatus::Stale,
            FeedState::Live | FeedState::Lost(_) => RegistryStatus::Ready,
        }
    }

    /// Whether reads show exactly what the store has, as always with the store `memory` once it is loaded.
    pub fn is_exact(&self) -> bool {
        let progress = self.progress.borrow();
        let is_live = progress.feed == FeedState::Live && progress.loaded;
        is_live
            && progress.index >= self.overdue.load(Ordering::Relaxed)
            && self.freshness.age().is_zero()
    }

    /// How long ago the view was last known to be current with the store: whatever was committed before that is shown.
    /// Always zero with the store `memory`. Before the state is loaded, the time since the start.
    pub fn view_age(&self) -> Duration {
        self.freshness.age()
    }

    /// Why reads may return old data; `None` if they are as current as `max_view_age` requires.
    pub fn staleness(&self) -> Option<Staleness> {
        let progress = self.progress.borrow().clone();
        let lost = match progress.feed {
            FeedState::Loading | FeedState::Closed => return None,
            FeedState::Lost(reason) => Some(reason),
            FeedState::Live => None,
        };
        if !progress.loaded {
            return lost.map(|reason| Staleness::NotLoaded { reason });
        }
        if progress.index < self.overdue.load(Ordering::Relaxed) {
            return Some(Staleness::Late);
        }
        let (age, limit) = (self.freshness.age(), self.max_view_age);
        (age > limit).then_some(Staleness::Old { age, limit, reason: lost, store: self.store })
    }

    /// Why registrations and deregistrations are rejected at the moment, if they are. Everything else goes on.
    pub fn read_only(&self) -> Option<Arc<str>> {
        self.read_only.borrow().clone()
    }

    /// Whether the status is [`RegistryStatus::Ready`].
    pub fn is_ready(&self) -> bool {
        self.status() == RegistryStatus::Ready
    }

    async fn apply_checked(&self, commands: Vec<Command>, origin: CommandOrigin) -> Outcomes {
        let count = commands.len();
        if count == 0 {
            return Vec::new();
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        let receipt = match timeout_at(deadline, self.commit(commands, origin, deadline)).await {
            Ok(Ok(receipt)) => receipt,
            Ok(Err(error)) => return vec![Err(error); count],
            Err(_) => return vec![Err(RegistryError::Busy(ANSWER_WITHIN)); count],
        };
        match self.reach(receipt.index, deadline).await {
            Ok(()) => receipt.outcomes,
            Err(error) => {
                let outcomes = receipt.outcomes.into_iter();
                outcomes.map(|outcome| outcome.and(Err(error.clone()))).collect()
            }
        }
    }

    async fn commit(
        &self,
        commands: Vec<Command>,
        origin: CommandOrigin,
        deadline: Instant,
    ) -> Result<Receipt, RegistryError> {
        let (reply, receipt) = oneshot::channel();
        let request = Request { commands, origin, span: Span::current(), deadline, reply };
        self.queue.send(request).await.map_err(|_| RegistryError::Closed)?;
        receipt.await.map_err(|_| RegistryError::Closed)
    }

    /// Waits until the view shows what was committed up to the index.
    async fn reach(&self, index: u64, deadline: Instant) -> Result<(), RegistryError> {
        // As always with a store in this process.
        if self.progress.borrow().index >= index {
            return Ok(());
        }
        let mut progress = self.progress.clone();
        let reached = progress
            .wait_for(|progress| progress.index >= index || progress.feed == FeedState::Closed);
        match timeout_at(deadline, reached).await {
            Ok(Ok(progress)) if progress.index >= index => Ok(()),
            Ok(_) => Err(RegistryError::Closed),
            Err(_) => {
                self.overdue.fetch_max(index, Ordering::Relaxed);
                let reason =
                    format!("committed, but its feed did not show it in {ANSWER_WITHIN:?}");
                Err(RegistryError::Unavailable { store: self.store, reason })
            }
        }
    }
}

/// The registration that an announcement carries. Its loopback addresses are those of the sender's host,
/// unless the channel has found that it is this one.
fn announced(service: &ServiceEndpoint) -> Registration {
    let mut registration = Registration::from(service.clone());
    if !service.host.is_loopback() {
        registration.addresses.retain(|host| !host.is_loopback());
    }
    registration
}

#[cfg(test)]
mod tests;
