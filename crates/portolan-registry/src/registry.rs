//! The handle that everybody holds.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::{
    Action, HealthReport, Registration, Revision, ServiceAnnouncement, ServiceEndpoint, ServiceId,
};
use portolan_metrics::{Metrics, OperationResult};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tracing::Span;

use crate::store::{Memory, Store};
use crate::task::{Outcomes, Request};
use crate::view::View;
use crate::{
    Command, CommandOutcome, EventStream, InvalidRegistryConfig, Origin, Query, Registered,
    RegistryConfig, RegistryError, RegistryTask, Source, WatchQuery,
};

/// How many requests may wait for the writer; who comes when it is full waits outside.
const QUEUE: usize = 256;
/// How long a command may take. The writer needs microseconds: beyond this something is broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A handle on the registry: cheap to clone, and all clones see the same.
#[derive(Debug, Clone)]
pub struct Registry {
    queue: mpsc::Sender<Request>,
    view: Arc<View>,
    metrics: Metrics,
}

/// A registry with nothing in it: the hand that writes, which the caller runs, and the handle for
/// everybody else.
pub fn open(
    config: &RegistryConfig,
    metrics: Metrics,
) -> Result<(RegistryTask, Registry), InvalidRegistryConfig> {
    Ok(open_over(Memory::new(config)?, config, metrics))
}

fn open_over<S: Store>(
    store: S,
    config: &RegistryConfig,
    metrics: Metrics,
) -> (RegistryTask<S>, Registry) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let view = Arc::new(View::new(config.history));
    let registry = Registry { queue: sender, view: Arc::clone(&view), metrics: metrics.clone() };
    (RegistryTask::new(store, receiver, view, metrics, config.cleanup_interval), registry)
}

// === impl Registry ===

impl Registry {
    // --- changes

    /// Registers an instance, or gives it its full TTL where it is known in the same words.
    pub async fn register(
        &self,
        registration: Registration,
        origin: Origin,
    ) -> Result<Registered, RegistryError> {
        match self.one(Command::Register(registration), origin).await? {
            CommandOutcome::Registered(registered) => Ok(registered),
            _ => unreachable!("a registration has the outcome of one"),
        }
    }

    /// Removes an instance.
    pub async fn deregister(&self, id: &ServiceId) -> Result<(), RegistryError> {
        self.one(Command::Deregister(id.clone()), Origin::local()).await.map(drop)
    }

    /// Gives an instance its full TTL again.
    pub async fn heartbeat(&self, id: &ServiceId) -> Result<(), RegistryError> {
        self.one(Command::Heartbeat(id.clone()), Origin::local()).await.map(drop)
    }

    /// Sets how well an instance is. The reason is cut to 512 characters on one line.
    pub async fn update_health(
        &self,
        id: &ServiceId,
        report: HealthReport,
    ) -> Result<(), RegistryError> {
        self.one(Command::Health(id.clone(), report), Origin::local()).await.map(drop)
    }

    /// Takes in what was heard on a broadcast channel. The health that it tells counts where the
    /// agent of the instance is the one who checks it: nobody else would ever know.
    pub async fn import(
        &self,
        announcement: &ServiceAnnouncement,
    ) -> Result<CommandOutcome, RegistryError> {
        let ServiceAnnouncement { action, service, .. } = announcement;
        let mut commands = match action {
            Action::Deregister => vec![Command::Deregister(service.id.clone())],
            // Each of them describes the instance in full: one that was missed so far is learnt.
            Action::Register | Action::Update | Action::Heartbeat => {
                vec![Command::Register(Registration::from(service.clone()))]
            }
        };
        if *action != Action::Deregister && service.is_checked_by_agent() {
            let report = HealthReport::new(service.health, service.health_reason.as_str());
            commands.push(Command::Health(service.id.clone(), report));
        }
        let outcomes = self.apply(commands, Origin::broadcast()).await;
        outcomes.into_iter().next().unwrap_or(Err(RegistryError::Closed))
    }

    /// Carries out commands in order, each independently of the others and with an outcome of its
    /// own. Commands of other callers may be carried out between them.
    pub async fn apply(
        &self,
        commands: Vec<Command>,
        origin: Origin,
    ) -> Vec<Result<CommandOutcome, RegistryError>> {
        let checked: Vec<_> = commands.iter().map(|command| command.check_origin(origin)).collect();
        let accepted = commands.into_iter().zip(&checked).filter(|(_, check)| check.is_ok());
        let accepted: Vec<_> = accepted.map(|(command, _)| command).collect();
        let mut outcomes = self.apply_checked(accepted, origin.source()).await.into_iter();
        let outcome = |check: Result<(), RegistryError>| {
            check.and_then(|()| outcomes.next().unwrap_or(Err(RegistryError::Closed)))
        };
        checked.into_iter().map(outcome).collect()
    }

    // --- reading

    /// The instances that are meant, with their health, ordered by name and id; and the revision
    /// at which the services asked about changed last, from which a watch can go on.
    pub fn lookup(&self, query: &Query) -> (Vec<Arc<ServiceEndpoint>>, Revision) {
        let start = Instant::now();
        let found = self.view.find(query);
        for name in &query.names {
            let found = found.0.binary_search_by(|endpoint| endpoint.name.cmp(name));
            let result =
                if found.is_ok() { OperationResult::Success } else { OperationResult::Failure };
            self.metrics.service_lookup(name.as_str(), result, start.elapsed());
        }
        found
    }

    /// One instance.
    pub fn get(&self, id: &ServiceId) -> Option<Arc<ServiceEndpoint>> {
        self.view.get(id)
    }

    /// Every instance, ordered by name and id.
    pub fn list(&self) -> Vec<Arc<ServiceEndpoint>> {
        self.view.find(&Query::default()).0
    }

    /// What happens from now on, or from a revision on.
    pub fn watch(&self, query: WatchQuery) -> EventStream {
        EventStream::new(Arc::clone(&self.view), query)
    }

    /// Whether it knows what there is, and can be written to.
    pub fn is_ready(&self) -> bool {
        self.view.is_open()
    }

    async fn one(&self, command: Command, origin: Origin) -> Result<CommandOutcome, RegistryError> {
        let outcome = self.apply(vec![command], origin).await.pop();
        outcome.unwrap_or(Err(RegistryError::Closed))
    }

    async fn apply_checked(&self, commands: Vec<Command>, source: Source) -> Outcomes {
        let count = commands.len();
        if count == 0 {
            return Vec::new();
        }
        match timeout(ANSWER_WITHIN, self.ask(commands, source)).await {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(error)) => vec![Err(error); count],
            Err(_) => vec![Err(RegistryError::Busy(ANSWER_WITHIN)); count],
        }
    }

    async fn ask(&self, commands: Vec<Command>, source: Source) -> Result<Outcomes, RegistryError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { commands, source, span: Span::current(), reply };
        self.queue.send(request).await.map_err(|_| RegistryError::Closed)?;
        answer.await.map_err(|_| RegistryError::Closed)
    }
}

#[cfg(test)]
mod tests;
