//! Follows an engine, and derives what should be registered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use portolan_broadcast::interfaces::InterfaceEvents;
use portolan_core::{Backoff, Remedy as _, ServiceId, Ttl};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::addresses::HostView;
use crate::container::Container;
use crate::engine::Engine;
use crate::error::DockerError;
use crate::events::{ContainerEvent, EventStream};
use crate::instance::Instance;
use crate::labels::Declared;

/// How many containers are registered at most: as many instances as a host may register.
const MAX_CONTAINERS: usize = 5_000;
/// How many containers are asked for at once.
const AT_ONCE: usize = 8;
/// How often all containers are compared: an engine drops events that are not read in time.
const COMPARE: Duration = Duration::from_secs(60);
/// The first wait before the engine is asked again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What should be registered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Desired {
    pub(crate) instances: BTreeMap<ServiceId, Arc<Instance>>,
    /// Whether the engine is connected. Otherwise nobody knows whether the containers run, and no lease is renewed.
    pub(crate) is_current: bool,
}

/// Follows an engine.
pub(crate) struct Follower {
    engine: Engine,
    engine_id: String,
    registry_url: String,
    ttl: Ttl,
    host: HostView,
    /// The running containers whose labels may name a service.
    containers: BTreeMap<String, Container>,
    /// The warnings that were logged, so that each is logged once.
    warned: BTreeMap<String, String>,
    desired: watch::Sender<Desired>,
}

// === impl Follower ===

impl Follower {
    pub(crate) async fn new(
        engine: Engine,
        engine_id: String,
        registry_url: String,
        ttl: Ttl,
    ) -> Self {
        let host = read_host(&registry_url).await;
        let (containers, warned) = (BTreeMap::new(), BTreeMap::new());
        let desired = watch::Sender::default();
        Self { engine, engine_id, registry_url, ttl, host, containers, warned, desired }
    }

    pub(crate) fn desired(&self) -> watch::Receiver<Desired> {
        self.desired.subscribe()
    }

    /// Follows the engine until the future is dropped.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut is_lost = false;
        loop {
            let error = match self.connect().await {
                Ok(events) => {
                    if std::mem::take(&mut is_lost) {
                        info!(containers = self.containers.len(), "Docker available again");
                    }
                    backoff.reset();
                    self.follow(events).await
                }
                Err(error) => error,
            };
            self.desired.send_if_modified(|desired| std::mem::take(&mut desired.is_current));
            if !std::mem::replace(&mut is_lost, true) {
                warn!(error = error.with_remedy(), "Docker not available, trying again");
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Opens the stream of events, and then asks for all containers, so that nothing is missed in between.
    async fn connect(&mut self) -> Result<EventStream, DockerError> {
        let events = self.engine.events().await?;
        self.compare().await?;
        Ok(events)
    }

    /// Follows the engine until its connection ends, and returns why.
    async fn follow(&mut self, mut events: EventStream) -> DockerError {
        let mut interfaces = InterfaceEvents::subscribe();
        let mut compare = interval(COMPARE);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        compare.reset();
        loop {
            let result = tokio::select! {
                event = events.next() => match event {
                    Ok(event) => self.apply(event).await,
                    Err(error) => Err(error),
                },
                () = interfaces.changed() => {
                    self.host = read_host(&self.registry_url).await;
                    self.publish();
                    Ok(())
                }
                _ = compare.tick() => self.compare().await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    /// Replaces what is known by what the engine says.
    async fn compare(&mut self) -> Result<(), DockerError> {
        let listed = self.engine.running().await?;
        let wanted = listed.into_iter().filter(|it| Declared::may_be_in(&it.labels));
        let mut ids: Vec<String> = wanted.map(|it| it.id).collect();
        if ids.len() > MAX_CONTAINERS {
            warn!(
                containers = ids.len(),
                limit = MAX_CONTAINERS,
                "Too many containers, the others are not registered"
            );
            ids.truncate(MAX_CONTAINERS);
        }
        let engine = &self.engine;
        let asked = stream::iter(ids).map(|id| async move { engine.container(&id).await });
        let found: Vec<Option<Container>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
        let running = found.into_iter().flatten().filter(Container::is_running);
        self.containers = running.map(|container| (container.id.clone(), container)).collect();
        let containers = &self.containers;
        self.warned.retain(|id, _| containers.contains_key(id));
        self.host = read_host(&self.registry_url).await;
        self.publish();
        Ok(())
    }

    async fn apply(&mut self, event: ContainerEvent) -> Result<(), DockerError> {
        let id = event.id();
        debug!(container = %id, event = ?event, "Docker event");
        // An event is older than the answer to a request, so what changed since is in the answer too.
        let container = match &event {
            ContainerEvent::Ended(_) => None,
            ContainerEvent::Changed(id) => self.engine.container(id).await?,
        };
        let wanted = |it: &Container| it.is_running() && Declared::may_be_in(&it.config.labels);
        match container.filter(wanted) {
            Some(container) => {
                let is_new = !self.containers.contains_key(&container.id);
                if is_new && self.containers.len() >= MAX_CONTAINERS {
                    warn!(container = %container.short_id(), limit = MAX_CONTAINERS, "Too many containers, this one is not registered");
                    return Ok(());
                }
                self.containers.insert(container.id.clone(), container);
            }
            None => {
                self.warned.remove(id);
                if self.containers.remove(id).is_none() {
                    return Ok(());
                }
            }
        }
        self.publish();
        Ok(())
    }

    /// Derives what should be registered from what is known.
    fn publish(&mut self) {
        let mut instances = BTreeMap::new();
        for container in self.containers.values() {
            match Instance::of(container, &self.engine_id, &self.host, self.ttl) {
                Ok(Some(instance)) => {
                    self.warned.remove(&container.id);
                    instances.insert(instance.registration.id(), Arc::new(instance));
                }
                Ok(None) => {}
                Err(error) => {
                    let reason = error.to_string();
                    if self.warned.get(&container.id) != Some(&reason) {
                        let name = portolan_core::quoted(container.name.trim_start_matches('/'));
                        warn!(
                            container = name,
                            id = container.short_id(),
                            reason,
                            "Container not registered"
                        );
                        self.warned.insert(container.id.clone(), reason);
                    }
                }
            }
        }
        let new = Desired { instances, is_current: true };
        self.desired.send_if_modified(|desired| {
            let is_changed = *desired != new;
            *desired = new;
            is_changed
        });
    }
}

async fn read_host(registry_url: &str) -> HostView {
    let url = registry_url.to_owned();
    let read = spawn_blocking(move || HostView::read(&url)).await;
    read.unwrap_or_else(|_| HostView::read("http://127.0.0.1"))
}
