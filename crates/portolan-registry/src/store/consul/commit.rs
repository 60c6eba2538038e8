//! Commits: decide on the replica, then write if what was decided on still holds, else decide again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use portolan_consul::{ConsulError, KvTransaction};
use portolan_core::{Revision, ServiceEndpoint};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::plan::{Fence, Plan, Planner, Step, Stored, removals};
use super::{Shared, unavailable, unavailable_because};
use crate::store::decide::{CommandRules, Effect, Terms, outcome};
use crate::store::remote::{commit_all, independent, wait_until_loaded};
use crate::{Command, CommandOrigin, CommandOutcome, RegistryError};

/// How long a command may take with all its attempts: less than its caller waits.
const WITHIN: Duration = Duration::from_millis(4500);
/// How long an attempt waits at most for the replica to show what was changed.
const SHOW: Duration = Duration::from_millis(100);

/// A command on its way.
struct Commit<'a> {
    shared: &'a Shared,
    command: &'a Command,
    origin: &'a CommandOrigin,
    until: Instant,
    progress: watch::Receiver<u64>,
    /// What earlier steps have displaced.
    displaced: Vec<(Arc<ServiceEndpoint>, Revision)>,
}

/// Why a step was not made.
enum Failure {
    /// Something that it depends on was changed: decide again.
    Conflict,
    /// It was made, but the replica does not show it.
    NotShown,
    /// Another server may have taken over the leases of this one.
    Unconfirmed,
    Consul(ConsulError),
}

// === impl Shared ===

impl Shared {
    /// Commits commands. Those that concern the same instances are committed in order, the others at the same time.
    pub(super) async fn commit_all(
        &self,
        commands: &[Command],
        origin: &CommandOrigin,
    ) -> Vec<Result<CommandOutcome, RegistryError>> {
        let first = |rest: &[Command]| {
            let replica = self.replica.lock();
            independent(rest, |command| replica.concerned(command))
        };
        commit_all(commands, first, |command| Commit::run(self, command, origin).boxed()).await
    }

    /// Commits a transaction. Returns the index of its writes.
    async fn transact(&self, transaction: &KvTransaction) -> Result<u64, Failure> {
        match self.client.transact(transaction).await {
            Ok(Some(index)) => Ok(index),
            Ok(None) => Err(Failure::Conflict),
            Err(error) => Err(Failure::Consul(error)),
        }
    }
}

// === impl Commit ===

impl<'a> Commit<'a> {
    async fn run(
        shared: &'a Shared,
        command: &'a Command,
        origin: &'a CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        let (until, progress) = (Instant::now() + WITHIN, shared.progress.subscribe());
        let displaced = Vec::new();
        Self { shared, command, origin, until, progress, displaced }.attempts().await
    }

    async fn attempts(&mut self) -> Result<CommandOutcome, RegistryError> {
        // The errors of an attempt that may have taken effect, and of one that has not.
        let (mut doubt, mut failed) = (None, None);
        while Instant::now() < self.until {
            self.wait_until_loaded().await?;
            self.progress.mark_unchanged();
            let plan = self.plan();
            let writes = matches!(plan.step, Step::Store(_) | Step::Remove(_));
            let Ok(step) = timeout_at(self.until, self.step(plan)).await else { break };
            match step {
                Ok(Some(Err(rejected))) => return Err(doubt.unwrap_or(rejected)),
                Ok(Some(outcome)) => return outcome,
                Ok(None) => continue,
                Err(Failure::Conflict) => {}
                Err(Failure::NotShown) => {
                    return Err(unavailable_because("committed, but its changes were not shown"));
                }
                Err(Failure::Unconfirmed) => {
                    let reason = "this server's session with Consul is not confirmed";
                    failed = Some(unavailable_because(reason));
                }
                Err(Failure::Consul(error)) if error.is_unreachable() => {
                    *(if writes { &mut doubt } else { &mut failed }) = Some(unavailable(&error));
                }
                Err(Failure::Consul(error)) => return Err(unavailable(&error)),
            }
            _ = timeout(SHOW, self.progress.changed()).await;
        }
        let late = "it did not answer, or other commits changed the same instances each time it was attempted";
        Err(doubt.or(failed).unwrap_or_else(|| unavailable_because(late)))
    }

    async fn wait_until_loaded(&mut self) -> Result<(), RegistryError> {
        let loaded = wait_until_loaded(&self.shared.replica, &mut self.progress, self.until).await;
        loaded.map_err(|reason| unavailable_because(&reason))
    }

    fn planner(&self) -> Planner<'a> {
        let Shared { keys, server, .. } = self.shared;
        let CommandRules { limits, ttl_default } = *self.shared.rules.lock();
        let terms = Terms { origin: self.origin, ttl_default, now: Timestamp::now() };
        Planner { keys, server: *server, limits, terms }
    }

    fn plan(&self) -> Plan {
        self.planner().plan(&self.shared.replica.lock(), self.command)
    }

    /// Makes the step of a plan. Returns `None` if another one follows.
    async fn step(
        &mut self,
        Plan { fence, step }: Plan,
    ) -> Result<Option<Result<CommandOutcome, RegistryError>>, Failure> {
        match step {
            // Whatever is stored.
            Step::Reject(error @ RegistryError::Invalid(_)) => Ok(Some(Err(error))),
            Step::Reject(error) => {
                self.verify(&fence).await?;
                Ok(Some(Err(error)))
            }
            Step::Keep(endpoint) => {
                self.verify(&fence).await?;
                Ok(Some(Ok(self.unchanged(endpoint))))
            }
            Step::Renew { written, endpoint } => {
                if matches!(self.command, Command::Register(_)) {
                    self.verify(&fence).await?;
                }
                self.shared.confirmed_session().ok_or(Failure::Unconfirmed)?;
                let renewed = self.shared.replica.lock().renew(written, &endpoint);
                renewed.then(|| Some(Ok(self.unchanged(endpoint.into())))).ok_or(Failure::Conflict)
            }
            Step::Remove(removed) => {
                let change = self.shared.next_change();
                let transaction = self.planner().remove(&fence, &removed, &change);
                let index = self.shared.transact(&transaction).await?;
                self.displaced.extend(removals(&removed, index));
                self.wait_until_shown(index).await?;
                let is_done = self.command.removes();
                let removed = is_done.then(|| self.displaced.pop()).flatten();
                Ok(removed.map(|(endpoint, revision)| {
                    Ok(CommandOutcome::Deregistered { endpoint, revision })
                }))
            }
            Step::Store(stored) => self.store(&fence, *stored).await.map(|it| Some(Ok(it))),
        }
    }

    async fn verify(&self, fence: &Fence) -> Result<(), Failure> {
        self.shared.transact(&self.planner().verify(fence)).await.map(drop)
    }

    async fn store(&mut self, fence: &Fence, stored: Stored) -> Result<CommandOutcome, Failure> {
        let transaction = self.planner().write(fence, &stored, &self.shared.next_change());
        let index = self.shared.transact(&transaction).await?;
        self.wait_until_shown(index).await?;
        Ok(stored.outcome(self.command, index, std::mem::take(&mut self.displaced)))
    }

    fn unchanged(&self, endpoint: Arc<ServiceEndpoint>) -> CommandOutcome {
        outcome(self.command, endpoint, Effect::Renewed, None, Vec::new())
    }

    /// Waits until the replica shows an index, so that the next command is decided on it.
    async fn wait_until_shown(&mut self, index: u64) -> Result<(), Failure> {
        let shown = self.progress.wait_for(|shown| *shown >= index);
        match timeout_at(self.until, shown).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::NotShown),
        }
    }
}
