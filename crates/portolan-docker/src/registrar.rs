//! Keeps the registry in step with the containers of an engine.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_client::{ListQuery, Operation, RegistryClient, RegistryClientError};
use portolan_core::{Backoff, Incarnation, Remedy as _, Ttl, backoff::with_jitter};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use crate::engine::Engine;
use crate::follower::{Desired, Follower};
use crate::instance::{ENGINE, ID_PREFIX};
use crate::registration_state::{Next, RegistrationState};

/// The timeout of one request.
const REQUEST: Duration = Duration::from_secs(2);
/// How many operations a request has, so that its body stays below the limit of the registry.
const OPERATIONS: usize = 100;
/// How long deregistering everything may take.
const WITHDRAW: Duration = Duration::from_secs(5);
/// The first wait before a request is repeated.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The share by which waits are shortened at random.
const JITTER: f64 = 0.2;

/// Registers the containers of an engine, renews their leases, and deregisters them at its end.
#[derive(Debug)]
pub struct ContainerRegistrar {
    engine: Engine,
    engine_id: String,
    client: RegistryClient,
    ttl: Ttl,
}

/// The side of the registry.
struct Sync {
    client: RegistryClient,
    /// For instances of an earlier run.
    anyone: RegistryClient,
    engine_id: String,
    state: RegistrationState,
    /// Whether what an earlier run has left was removed.
    is_clean: bool,
    was_lost: bool,
}

// === impl ContainerRegistrar ===

impl ContainerRegistrar {
    /// Creates a registrar. `engine_id` is that of [`Engine::id`]. An instance is gone `ttl` after its last renewal if this
    /// process ends without deregistering it, and if the engine does not answer.
    pub fn new(engine: Engine, engine_id: String, client: RegistryClient, ttl: Ttl) -> Self {
        Self { engine, engine_id, client, ttl }
    }

    /// Registers containers until `stop`, then deregisters them.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { engine, engine_id, client, ttl } = self;
        let follower = Follower::new(engine, engine_id.clone(), client.urls(), ttl).await;
        let desired = follower.desired();
        let mut sync = Sync::new(client, engine_id);
        tokio::select! {
            // Both in this task, so that nothing outlives it.
            () = async { tokio::join!(follower.run(), sync.run(desired, ttl.duration() / 3)); } => {}
            () = stop => {}
        }
        sync.withdraw().await;
    }
}

// === impl Sync ===

impl Sync {
    fn new(client: RegistryClient, engine_id: String) -> Self {
        let client = client.with_timeout(REQUEST);
        let incarnation = Incarnation::random();
        Self {
            anyone: client.clone(),
            client: client.with_incarnation(incarnation),
            engine_id,
            state: RegistrationState::new(incarnation),
            is_clean: false,
            was_lost: false,
        }
    }

    async fn run(&mut self, mut desired: watch::Receiver<Desired>, interval: Duration) {
        let mut backoff = Backoff::new(FIRST_RETRY, interval).jitter(JITTER);
        let mut renewal = Instant::now();
        loop {
            let current = desired.borrow_and_update().clone();
            let is_due = renewal <= Instant::now();
            let result = self.apply(&current, is_due && current.is_current).await;
            let retry = self.record(result, &mut backoff);
            if is_due && current.is_current {
                renewal = Instant::now() + with_jitter(interval, JITTER);
            }
            // Without the engine there is nothing to renew until it is back, which is a change.
            let renewal = if current.is_current { renewal } else { Instant::now() + interval };
            tokio::select! {
                changed = desired.changed() => if changed.is_err() { return },
                () = sleep_until(retry.map_or(renewal, |retry| renewal.min(retry))) => {}
            }
        }
    }

    /// Sends what differs. Returns whether something is to be tried again.
    async fn apply(
        &mut self,
        desired: &Desired,
        heartbeat: bool,
    ) -> Result<bool, RegistryClientError> {
        if !self.is_clean && desired.is_current {
            self.remove_former(desired).await?;
            self.is_clean = true;
        }
        let operations = self.state.plan(desired, heartbeat);
        let mut next = self.send(&operations, desired).await?;
        if next == Next::Again {
            let again = self.state.plan(desired, false);
            next = self.send(&again, desired).await?;
        }
        Ok(next != Next::Wait)
    }

    async fn send(
        &mut self,
        operations: &[Operation],
        desired: &Desired,
    ) -> Result<Next, RegistryClientError> {
        let mut next = Next::Wait;
        for chunk in operations.chunks(OPERATIONS) {
            let results = self.client.batch(chunk).await?;
            for (operation, result) in chunk.iter().zip(results) {
                match self.state.record(operation, result, desired) {
                    Next::Wait => {}
                    Next::Again if next == Next::Wait => next = Next::Again,
                    Next::Again => {}
                    Next::Retry => next = Next::Retry,
                }
            }
        }
        Ok(next)
    }

    /// Deregisters the instances of containers that have ended while no registrar ran.
    async fn remove_former(&self, desired: &Desired) -> Result<(), RegistryClientError> {
        let metadata = BTreeMap::from([(ENGINE.to_owned(), self.engine_id.clone())]);
        let listing = self.anyone.list(&ListQuery { metadata, ..ListQuery::default() }).await;
        let listing = match listing {
            Err(error) if !error.is_temporary() => {
                warn!(
                    error = error.with_remedy(),
                    "Instances of an earlier run not removed, they expire"
                );
                return Ok(());
            }
            listing => listing?,
        };
        let ids = listing.services.into_iter().map(|endpoint| endpoint.id);
        let is_former = |id: &_| !desired.instances.contains_key(id);
        let former = ids.filter(|id| id.as_str().starts_with(ID_PREFIX)).filter(is_former);
        let former: Vec<_> = former.map(Operation::Deregister).collect();
        for chunk in former.chunks(OPERATIONS) {
            // One that is refused or gone by now needs nothing.
            self.anyone.batch(chunk).await?;
            chunk.iter().for_each(
                |it| info!(service_id = %it.id(), "Container of an earlier run deregistered"),
            );
        }
        Ok(())
    }

    /// Logs whether the registry is available, and returns when to try again, if at all before the next heartbeat.
    fn record(
        &mut self,
        result: Result<bool, RegistryClientError>,
        backoff: &mut Backoff,
    ) -> Option<Instant> {
        let is_lost = result.is_err();
        let was_lost = std::mem::replace(&mut self.was_lost, is_lost);
        match result {
            Ok(is_open) => {
                if was_lost {
                    info!(url = self.client.url(), "Registry available again");
                }
                if is_open {
                    return Some(Instant::now() + backoff.next_wait());
                }
                backoff.reset();
                None
            }
            Err(error) => {
                if was_lost {
                    debug!(%error, "Registry still unavailable");
                } else {
                    warn!(error = error.with_remedy(), "Registry unavailable, trying again");
                }
                Some(Instant::now() + backoff.next_wait())
            }
        }
    }

    /// Deregisters everything.
    async fn withdraw(&mut self) {
        let operations = self.state.withdrawal();
        let deadline = Instant::now() + WITHDRAW;
        let sent = timeout_at(deadline, self.send(&operations, &Desired::default())).await;
        let reason = match sent {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.with_remedy(),
            Err(_) => format!("no answer within {} s", WITHDRAW.as_secs()),
        };
        warn!(error = reason, "Containers not deregistered, they expire at the end of their TTL");
    }
}
