//! A store for the tests only, as short as one can be: it shows that a new store is a file and a row in `STORES`.
//! The rules, the index of places and the backlog of a feed are those of every store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::{
    Change, HealthStatus, Revision, ServiceEndpoint, ServiceEvent, ServiceId, Source,
};
use portolan_metrics::Metrics;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::backlog::Backlog;
use super::decide::{CommandRules, Decision, Effect, Known, Put, Terms, decide, outcome};
use super::index::Index;
use super::mass_expiry::MassExpiry;
use super::owner::Owner;
use super::{
    Committed, Feed, FeedLost, Inspection, OpenError, Receipt, Store, StoreKind, StoreParts,
    Update, suite,
};
use crate::{
    Command, CommandOrigin, CommandOutcome, InvalidRegistryConfig, LiveServers, Membership,
    Recorder, RegistryConfig, RegistryError, ServerId,
};

/// The row of this store.
pub(super) const KIND: StoreKind =
    StoreKind { name: "toy", validate: |_| Ok(()), open, inspect: |_| inspect().boxed() };

fn open(config: &RegistryConfig) -> Result<StoreParts, OpenError> {
    let wake = Arc::new(Notify::new());
    let toy = Arc::new(Toy {
        state: Mutex::new(State {
            instances: HashMap::new(),
            index_of: Index::default(),
            mass_expiry: MassExpiry::from_config(config),
            backlog: Backlog::new(Arc::clone(&wake)),
            revision: Revision(0),
            index: 0,
        }),
        servers: watch::Sender::new(LiveServers::from([(ServerId(0), None)])),
        leases_changed: Notify::new(),
        rules: Mutex::new(CommandRules::from_config(config)?),
    });
    Ok((Arc::clone(&toy) as Arc<dyn Store>, Box::new(ToyFeed { toy, wake })))
}

/// Nothing outlives the process.
async fn inspect() -> Result<Inspection, super::InspectError> {
    Err(super::NothingKept.into())
}

/// A map behind a lock.
#[derive(Debug)]
struct Toy {
    state: Mutex<State>,
    servers: watch::Sender<LiveServers>,
    leases_changed: Notify,
    rules: Mutex<CommandRules>,
}

#[derive(Debug)]
struct State {
    instances: HashMap<ServiceId, Instance>,
    index_of: Index,
    mass_expiry: MassExpiry,
    backlog: Backlog,
    revision: Revision,
    index: u64,
}

#[derive(Debug)]
struct Instance {
    endpoint: Arc<ServiceEndpoint>,
    owner: Owner,
    ends: Instant,
    /// Kept although its lease ended.
    is_kept: bool,
}

#[derive(Debug)]
struct ToyFeed {
    toy: Arc<Toy>,
    wake: Arc<Notify>,
}

impl Store for Toy {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn commit<'a>(
        &'a self,
        commands: &'a [Command],
        origin: &'a CommandOrigin,
    ) -> BoxFuture<'a, Receipt> {
        let mut state = self.state.lock();
        let outcomes =
            commands.iter().map(|command| self.apply(&mut state, command, origin)).collect();
        self.leases_changed.notify_one();
        std::future::ready(Receipt { outcomes, index: state.index }).boxed()
    }

    fn has_former_state(&self) -> bool {
        false
    }

    fn membership(&self) -> Membership {
        Membership::new(ServerId(0), self.servers.subscribe())
    }

    fn maintain(&self, recorder: Recorder) -> BoxFuture<'_, ()> {
        async move {
            loop {
                let next = self.state.lock().end_leases(Instant::now(), &recorder);
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.leases_changed.notified() => {}
                }
            }
        }
        .boxed()
    }

    fn reconfigure(&self, config: &RegistryConfig) -> Result<(), InvalidRegistryConfig> {
        *self.rules.lock() = CommandRules::from_config(config)?;
        self.state.lock().mass_expiry.reconfigure(config);
        Ok(())
    }
}

impl Feed for ToyFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, FeedLost>> {
        async move {
            loop {
                if let Some(update) = self.toy.state.lock().take_update() {
                    return Ok(update);
                }
                self.wake.notified().await;
            }
        }
        .boxed()
    }
}

// === impl Toy ===

impl Toy {
    fn apply(
        &self,
        state: &mut State,
        command: &Command,
        origin: &CommandOrigin,
    ) -> Result<CommandOutcome, RegistryError> {
        let CommandRules { limits, ttl_default } = *self.rules.lock();
        let terms = Terms { origin, ttl_default, now: Timestamp::now() };
        let known = |id: &ServiceId| state.instances.get(id).map(Instance::known);
        match decide(command, &state.index_of.concerned(command, known), terms)? {
            Decision::Put(put) => {
                limits.check_put(&put, origin.source(), state.sizes())?;
                Ok(state.put(command, put, origin))
            }
            Decision::Remove => {
                let id = command.id();
                let removed = state.remove(&id, |endpoint| Change::Deregistered { endpoint });
                let (endpoint, revision) = removed.ok_or(RegistryError::Unknown { id })?;
                Ok(CommandOutcome::Deregistered { endpoint, revision })
            }
        }
    }
}

// === impl State ===

impl State {
    fn put(&mut self, command: &Command, put: Put, origin: &CommandOrigin) -> CommandOutcome {
        let Put { mut endpoint, effect, owner, displaced } = put;
        let deregistered = |endpoint| Change::Deregistered { endpoint };
        let displaced: Vec<_> =
            displaced.iter().filter_map(|id| self.remove(id, deregistered)).collect();
        let former = self.take(&endpoint.id);
        let ends = former.as_ref().filter(|_| !command.renews_lease()).map(|former| former.ends);
        let owner = owner.or_else(|| former.as_ref().map(|former| former.owner.clone()));
        let former = former.map(|former| former.endpoint);
        let moved_from = former.filter(|_| effect == Effect::Moved);
        moved_from.iter().cloned().for_each(|endpoint| self.emit(deregistered(endpoint)));
        if effect != Effect::Renewed {
            endpoint.revision = Revision(self.revision.0 + 1);
        }
        let endpoint = Arc::new(endpoint);
        let instance = Instance {
            endpoint: Arc::clone(&endpoint),
            owner: owner.unwrap_or_else(|| Owner::new(origin)),
            ends: ends.unwrap_or_else(|| Instant::now() + endpoint.ttl.duration()),
            is_kept: false,
        };
        self.index_of.insert(&instance.endpoint, &instance.owner);
        self.instances.insert(endpoint.id.clone(), instance);
        self.emit_put(effect, Arc::clone(&endpoint));
        outcome(command, endpoint, effect, moved_from, displaced)
    }

    fn emit_put(&mut self, effect: Effect, endpoint: Arc<ServiceEndpoint>) {
        match effect {
            Effect::Registered | Effect::Moved => self.emit(Change::Registered { endpoint }),
            Effect::Updated => self.emit(Change::Updated { endpoint }),
            Effect::Health => self.emit(Change::Health { endpoint }),
            Effect::Renewed => self.push(Committed::Renewed(endpoint)),
        }
    }

    /// Removes an instance, and emits the change.
    fn remove(
        &mut self,
        id: &ServiceId,
        change: impl FnOnce(Arc<ServiceEndpoint>) -> Change,
    ) -> Option<(Arc<ServiceEndpoint>, Revision)> {
        let Instance { endpoint, .. } = self.take(id)?;
        self.emit(change(Arc::clone(&endpoint)));
        Some((endpoint, self.revision))
    }

    fn take(&mut self, id: &ServiceId) -> Option<Instance> {
        let instance = self.instances.remove(id)?;
        self.index_of.remove(&instance.endpoint, &instance.owner);
        Some(instance)
    }

    fn emit(&mut self, change: Change) {
        self.revision.0 += 1;
        self.push(Committed::Changed(Arc::new(ServiceEvent { revision: self.revision, change })));
    }

    fn push(&mut self, committed: Committed) {
        self.index += 1;
        self.backlog.push(committed);
    }

    fn take_update(&mut self) -> Option<Update> {
        if self.backlog.needs_reset() {
            self.backlog.begin();
            let endpoints = self.instances.values().map(|i| Arc::clone(&i.endpoint)).collect();
            let reset = Committed::Reset { endpoints, revision: self.revision, history: None };
            return Some(Update { committed: vec![reset], index: self.index });
        }
        let (committed, left) = self.backlog.take(0);
        let index = self.index - left as u64;
        (!committed.is_empty()).then_some(Update { committed, index })
    }

    /// The number of instances, and of those that were learned by broadcast.
    fn sizes(&self) -> (usize, usize) {
        let is_broadcast = |i: &&Instance| i.endpoint.source == Source::Broadcast;
        (self.instances.len(), self.instances.values().filter(is_broadcast).count())
    }

    /// Ends the leases that are over, and returns when the next one is.
    fn end_leases(&mut self, now: Instant, recorder: &Recorder) -> Instant {
        let over = self.instances.iter().filter(|(_, instance)| instance.ends <= now);
        let over: Vec<_> = over.map(|(id, _)| id.clone()).collect();
        for id in over {
            if !self.keep(&id, now)
                && let Some((endpoint, revision)) =
                    self.remove(&id, |endpoint| Change::Expired { endpoint })
            {
                recorder.expired(&endpoint, revision);
            }
        }
        let next = self.instances.values().map(|instance| instance.ends).min();
        next.unwrap_or(now + Duration::from_secs(60))
    }

    /// Keeps an instance whose lease is over, if too many end at once.
    fn keep(&mut self, id: &ServiceId, now: Instant) -> bool {
        let leases = || {
            let leases = self.instances.values();
            leases.map(|i| (&*i.endpoint, i.ends.saturating_duration_since(now)))
        };
        let Some(instance) = self.instances.get(id).filter(|instance| !instance.is_kept) else {
            return false;
        };
        let Some(kept) = self.mass_expiry.keeps(&instance.endpoint, leases) else { return false };
        let mut endpoint = (*instance.endpoint).clone();
        (endpoint.health, endpoint.health_reason) = (HealthStatus::Unknown, kept.reason);
        endpoint.revision = Revision(self.revision.0 + 1);
        let endpoint = Arc::new(endpoint);
        if let Some(instance) = self.instances.get_mut(id) {
            (instance.ends, instance.is_kept) = (now + kept.keep, true);
            instance.endpoint = Arc::clone(&endpoint);
        }
        self.emit(Change::Health { endpoint });
        true
    }
}

// === impl Instance ===

impl Instance {
    fn known(&self) -> Known<'_> {
        Known { endpoint: &self.endpoint, owner: &self.owner }
    }
}

/// The settings that select this store, as a file would.
fn config() -> RegistryConfig {
    serde_json::from_str(r#"{"storage_backend": "toy"}"#).unwrap()
}

#[tokio::test]
async fn toy_store_passes_the_suite_of_all_stores() {
    suite::run(|| super::open(&config()).unwrap()).await;
}

#[tokio::test]
async fn registry_over_the_toy_store_shows_what_it_commits() {
    let (stop, stopped) = oneshot::channel::<()>();
    let (task, registry) = crate::open(&config(), Metrics::new()).unwrap();
    let task = tokio::spawn(task.run(stopped.map(drop)));
    let registration = suite::registration("api", 80);
    let registered = registry.register(registration, suite::api()).await.unwrap().endpoint;
    assert_eq!(registry.get(&registered.id), Some(registered));
    drop(stop);
    task.await.unwrap();
}
