//! Commits: decide on the replica, then write if what was decided on still holds, else decide again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use portolan_core::{Revision, ServiceEndpoint};
use portolan_etcd::{EtcdError, EtcdLease, Transaction, TransactionResult};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::plan::{Plan, Planner, Step, Stored, removals};
use super::{Shared, unavailable, unavailable_because};
use crate::store::decide::{CommandRules, Effect, Terms, outcome};
use crate::store::remote::{commit_all, independent, wait_until_loaded};
use crate::{Command, CommandOrigin, CommandOutcome, RegistryError};

/// How long a command may take with all its attempts: less than its caller waits.
const WITHIN: Duration = Duration::from_millis(4500);
/// How often a command is decided again, because something that it depends on was changed meanwhile.
const ATTEMPTS: usize = 32;
/// How long an attempt waits at most for the replica to show what was changed.
const SHOW: Duration = Duration::from_millis(100);

/// A command on its way.
struct Commit<'a> {
    shared: &'a Shared,
    command: &'a Command,
    origin: &'a CommandOrigin,
    until: Instant,
    progress: watch::Receiver<i64>,
    /// The lease that was granted for it, and its TTL.
    granted: Option<(EtcdLease, i64)>,
    /// What earlier steps have displaced.
    displaced: Vec<(Arc<ServiceEndpoint>, Revision)>,
}

/// Why a step was not made.
enum Failure {
    /// Something that it depends on was changed: decide again.
    Conflict,
    /// It was made, but the replica does not show it.
    NotShown,
    Etcd(EtcdError),
}

// === impl Shared ===

impl Shared {
    /// Commits commands. Those that concern the same instances are committed in order, the others at the
    /// same time.
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
}

// === impl Commit ===

impl<'a> Commit<'a> {
    async fn run(
        shared: &'a Shared,
        command: &'a Command,
        origin: &'a CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        let mut commit = Self {
            shared,
            command,
            origin,
            until: Instant::now() + WITHIN,
            progress: shared.progress.subscribe(),
            granted: None,
            displaced: Vec::new(),
        };
        let outcome = commit.attempts().await;
        if let Some((unused, _)) = commit.granted {
            shared.revoke_later(unused);
        }
        outcome
    }

    async fn attempts(&mut self) -> Result<CommandOutcome, RegistryError> {
        // The errors of an attempt that may have taken effect, and of one that has not.
        let (mut doubt, mut failed) = (None, None);
        for _ in 0..ATTEMPTS {
            self.wait_until_loaded().await?;
            self.progress.mark_unchanged();
            let plan = self.plan();
            let writes = matches!(plan.step, Step::Store(_) | Step::Remove(_));
            match self.step(plan).await {
                Ok(Some(Err(rejected))) => return Err(doubt.unwrap_or(rejected)),
                Ok(Some(outcome)) => return outcome,
                Ok(None) => continue,
                Err(Failure::Conflict) => {}
                Err(Failure::NotShown) => {
                    return Err(unavailable_because("committed, but its watch did not show it"));
                }
                Err(Failure::Etcd(error)) if error.is_unreachable() => {
                    *(if writes { &mut doubt } else { &mut failed }) = Some(unavailable(&error));
                }
                Err(Failure::Etcd(error)) => return Err(unavailable(&error)),
            }
            if Instant::now() >= self.until {
                break;
            }
            _ = timeout(SHOW, self.progress.changed()).await;
        }
        let conflict = "other commits changed the same instances each time it was attempted";
        Err(doubt.or(failed).unwrap_or_else(|| unavailable_because(conflict)))
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
        let client = &self.shared.client;
        match step {
            // Whatever is stored.
            Step::Reject(error @ RegistryError::Invalid(_)) => Ok(Some(Err(error))),
            Step::Reject(error) => {
                succeeded(client.transact(fence).await)?;
                Ok(Some(Err(error)))
            }
            Step::Keep(endpoint) => {
                succeeded(client.transact(fence).await)?;
                Ok(Some(Ok(self.unchanged(endpoint))))
            }
            Step::Renew(stored) => self.renew(fence, *stored).await.map(|it| Some(Ok(it))),
            Step::Remove(removed) => {
                let transaction = self.planner().remove(fence, &removed);
                let etcd = succeeded(client.transact(transaction).await)?;
                removed.iter().for_each(|record| self.shared.revoke_later(record.lease));
                self.displaced.extend(removals(&removed, etcd));
                self.wait_until_shown(etcd).await?;
                let is_done = self.command.removes();
                let removed = is_done.then(|| self.displaced.pop()).flatten();
                Ok(removed.map(|(endpoint, revision)| {
                    Ok(CommandOutcome::Deregistered { endpoint, revision })
                }))
            }
            Step::Store(stored) => self.store(fence, *stored).await.map(|it| Some(Ok(it))),
        }
    }

    /// Keeps the lease of a registration alive.
    ///
    /// Another server may have found that the TTL had passed, and its removal of the instance may be on its way for as
    /// long as that server is stopped or cut off. This cannot be if the lease was renewed within its TTL before. If it
    /// is not known, the key is written, so that no removal which was decided on before takes effect.
    async fn renew(
        &mut self,
        fence: Transaction,
        stored: Stored,
    ) -> Result<CommandOutcome, Failure> {
        let shared = self.shared;
        if matches!(self.command, Command::Register(_)) {
            succeeded(shared.client.transact(fence.clone()).await)?;
        }
        let (endpoint, lease) = (stored.endpoint().clone(), stored.kept_lease());
        let (began, lease) = (Instant::now(), lease.ok_or(Failure::Conflict)?);
        if !shared.client.keep_alive(lease).await.map_err(Failure::Etcd)? {
            return Err(Failure::Conflict);
        }
        if !shared.replica.lock().is_renewed_in_time(lease, &endpoint.id) {
            let transaction = self.planner().write(fence, &stored, lease);
            let etcd = succeeded(shared.client.transact(transaction).await)?;
            self.wait_until_shown(etcd).await?;
        }
        let is_same = shared.replica.lock().renew(lease, &endpoint, began);
        is_same.then(|| self.unchanged(endpoint.into())).ok_or(Failure::Conflict)
    }

    async fn store(
        &mut self,
        fence: Transaction,
        stored: Stored,
    ) -> Result<CommandOutcome, Failure> {
        let began = Instant::now();
        let lease = match stored.kept_lease() {
            Some(lease) => lease,
            None => self.lease(stored.lease_ttl()).await?,
        };
        if stored.renews && !self.shared.client.keep_alive(lease).await.map_err(Failure::Etcd)? {
            return Err(Failure::Conflict);
        }
        let transaction = self.planner().write(fence, &stored, lease);
        let result = succeeded(self.shared.client.transact(transaction).await);
        if !matches!(result, Err(Failure::Conflict)) {
            // In use, ended, or in use if the transaction took effect although it failed.
            self.granted = None;
        }
        let etcd = match result {
            Err(Failure::Etcd(EtcdError::LeaseGone)) => return Err(Failure::Conflict),
            result => result?,
        };
        stored.ended().into_iter().for_each(|lease| self.shared.revoke_later(lease));
        self.wait_until_shown(etcd).await?;
        if stored.renews {
            self.shared.replica.lock().renew(lease, stored.endpoint(), began);
        } else if stored.kept_lease().is_none() {
            self.shared.replica.lock().set_renewed(lease, &stored.endpoint().id, began);
        }
        Ok(stored.outcome(self.command, etcd, std::mem::take(&mut self.displaced)))
    }

    /// Returns the lease that was granted for this command, or a new one.
    async fn lease(&mut self, ttl: i64) -> Result<EtcdLease, Failure> {
        if let Some((lease, granted)) = self.granted
            && granted == ttl
        {
            return Ok(lease);
        }
        let lease = self.shared.client.grant(ttl).await.map_err(Failure::Etcd)?;
        if let Some((unused, _)) = self.granted.replace((lease, ttl)) {
            self.shared.revoke_later(unused);
        }
        Ok(lease)
    }

    fn unchanged(&self, endpoint: Arc<ServiceEndpoint>) -> CommandOutcome {
        outcome(self.command, endpoint, Effect::Renewed, None, Vec::new())
    }

    /// Waits until the replica shows a revision, so that the next command is decided on it.
    async fn wait_until_shown(&mut self, etcd: i64) -> Result<(), Failure> {
        let shown = self.progress.wait_for(|revision| *revision >= etcd);
        match timeout_at(self.until, shown).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::NotShown),
        }
    }
}

/// The revision of a transaction that took effect.
fn succeeded(result: Result<TransactionResult, EtcdError>) -> Result<i64, Failure> {
    match result {
        Ok(TransactionResult { succeeded: true, revision }) => Ok(revision),
        Ok(_) => Err(Failure::Conflict),
        Err(error) => Err(Failure::Etcd(error)),
    }
}
