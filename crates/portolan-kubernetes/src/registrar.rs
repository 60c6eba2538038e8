//! Keeps a registry equal to what the cluster has: registers, renews, deregisters, in batches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use portolan_client::{ListQuery, Operation, RegistryClient, RegistryClientError};
use portolan_core::kubernetes_name::{CLUSTER, NAMESPACE};
use portolan_core::{Backoff, HealthStatus, Registration, Remedy as _, ServiceId};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::instances::Naming;
use crate::known::Key;
use crate::registrant::Registrant;

/// How many operations a request has, so that its body stays below the limit of the registry.
const OPERATIONS: usize = 100;
/// The waits before the registry is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const JITTER: f64 = 0.3;
/// How many refusals of one batch are logged.
const LOGGED_REFUSALS: usize = 5;

/// The registrations of a cluster.
pub(crate) struct Registrar {
    registry: RegistryClient,
    naming: Naming,
    registrant: Registrant,
    /// The namespaces that are followed; empty for all.
    namespaces: Vec<String>,
    /// What is to be registered.
    desired: HashMap<ServiceId, Arc<Registration>>,
    /// The instances of each Service or pod.
    ids_of: HashMap<Key, BTreeSet<ServiceId>>,
    /// What the registry has, as far as is known.
    registered: HashMap<ServiceId, Arc<Registration>>,
    /// What may differ.
    pending: BTreeSet<ServiceId>,
    /// What the registry has refused, and was reported.
    refused: HashSet<ServiceId>,
    /// The sources of which everything is known; `None` is that of all namespaces.
    listed: HashSet<Option<String>>,
    /// Whether `registered` was read from the registry since the last failure.
    is_read: bool,
    is_failing: bool,
    waits: Backoff,
    next_attempt: Option<Instant>,
}

// === impl Registrar ===

impl Registrar {
    pub(crate) fn new(
        registry: RegistryClient,
        naming: Naming,
        registrant: Registrant,
        namespaces: Vec<String>,
    ) -> Self {
        Self {
            registry: registry.with_incarnation(naming.incarnation()),
            naming,
            registrant,
            namespaces,
            desired: HashMap::new(),
            ids_of: HashMap::new(),
            registered: HashMap::new(),
            pending: BTreeSet::new(),
            refused: HashSet::new(),
            listed: HashSet::new(),
            is_read: false,
            is_failing: false,
            waits: Backoff::new(FIRST_WAIT, LONGEST_WAIT).jitter(JITTER),
            next_attempt: Some(Instant::now()),
        }
    }

    /// When [`Self::flush`] is due although nothing has changed.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        self.next_attempt
    }

    /// Sets the instances of a Service or a pod.
    pub(crate) fn set(&mut self, object: &Key, instances: BTreeMap<ServiceId, Registration>) {
        let ids: BTreeSet<ServiceId> = instances.keys().cloned().collect();
        let before = match ids.is_empty() {
            true => self.ids_of.remove(object),
            false => self.ids_of.insert(object.clone(), ids.clone()),
        };
        for gone in before.unwrap_or_default().difference(&ids) {
            self.desired.remove(gone);
            self.pending.insert(gone.clone());
        }
        for (id, instance) in instances {
            let is_known = self.desired.get(&id).is_some_and(|known| **known == instance);
            if !is_known {
                self.pending.insert(id.clone());
                self.desired.insert(id, Arc::new(instance));
            }
        }
    }

    /// Notes that everything of a source is known: what an earlier run has left behind can go.
    pub(crate) fn listed(&mut self, source: Option<&str>) {
        self.listed.insert(source.map(str::to_owned));
        self.find_left_over();
    }

    /// Registers and deregisters what has changed, unless the registry was unreachable a moment ago.
    pub(crate) async fn flush(&mut self) {
        if self.next_attempt.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.next_attempt = None;
        if !self.is_read && !self.read().await {
            return;
        }
        let operations = self.operations();
        if operations.is_empty() {
            return;
        }
        let results = self.apply(&operations).await;
        if let Some(results) = self.checked(results) {
            self.note(&operations, results);
        }
    }

    /// Renews every lease. What the registry does not know any more is registered again.
    pub(crate) async fn renew(&mut self) {
        if !self.is_read {
            return;
        }
        let ids: Vec<ServiceId> = self.registered.keys().cloned().collect();
        let heartbeat = |id: &ServiceId| Operation::Heartbeat(id.clone());
        let heartbeats: Vec<_> = ids.iter().map(heartbeat).collect();
        let results = self.apply(&heartbeats).await;
        let Some(results) = self.checked(results) else { return };
        for (id, result) in ids.into_iter().zip(results) {
            if result.is_err() {
                self.registered.remove(&id);
            }
        }
        let lost = self.desired.keys().filter(|id| !self.registered.contains_key(*id));
        self.pending.extend(lost.cloned());
    }

    /// Reads what the registry has of this cluster, from an earlier run or from another replica.
    async fn read(&mut self) -> bool {
        let mut query = ListQuery::default();
        query.metadata.insert(CLUSTER.to_owned(), self.naming.cluster.to_string());
        let listing = self.registry.list(&query).await;
        let Some(listing) = self.checked(listing) else { return false };
        self.registered.clear();
        for endpoint in listing.services {
            let mut registration = Registration::from(endpoint);
            registration.initial_health = Some(HealthStatus::Passing);
            if self.follows(&registration) {
                self.registered.insert(registration.id(), Arc::new(registration));
            }
        }
        let known = self.registered.len();
        info!(registry = self.registry.url(), known, "Registry reached");
        self.is_read = true;
        self.pending.extend(self.desired.keys().cloned());
        self.find_left_over();
        true
    }

    /// The operations that make the registry equal to the cluster.
    fn operations(&mut self) -> Vec<Operation> {
        let pending = std::mem::take(&mut self.pending);
        let operation = |id: ServiceId| match (self.desired.get(&id), self.registered.get(&id)) {
            (Some(desired), Some(known)) if desired == known => None,
            (Some(desired), _) => Some(Operation::Register(Box::new((**desired).clone()))),
            (None, Some(_)) => Some(Operation::Deregister(id)),
            (None, None) => None,
        };
        pending.into_iter().filter_map(operation).collect()
    }

    /// Applies operations in their order. If a request fails, what came before it has been applied.
    async fn apply(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<Result<(), RegistryClientError>>, RegistryClientError> {
        let mut results = Vec::with_capacity(operations.len());
        for operations in operations.chunks(OPERATIONS) {
            results.extend(self.registry.batch(operations).await?);
        }
        Ok(results)
    }

    /// Notes what the registry has done.
    fn note(&mut self, operations: &[Operation], results: Vec<Result<(), RegistryClientError>>) {
        let mut refusals = 0;
        for (operation, result) in operations.iter().zip(results) {
            match (operation, result) {
                (Operation::Register(service), Ok(())) => {
                    let id = service.id();
                    self.refused.remove(&id);
                    self.registered.insert(id, Arc::new((**service).clone()));
                }
                (Operation::Register(service), Err(refusal)) => {
                    // Another attempt follows with the next heartbeats.
                    let id = service.id();
                    refusals += 1;
                    if self.refused.insert(id.clone()) && refusals <= LOGGED_REFUSALS {
                        warn!(%id, error = %refusal, "Registry refuses an instance");
                    }
                    self.registered.remove(&id);
                }
                (Operation::Deregister(id), result) => {
                    self.refused.remove(id);
                    self.registered.remove(id);
                    if let Err(error) = result {
                        debug!(%id, %error, "Instance was gone");
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the answer of the registry; if it is unreachable, everything is compared again later.
    fn checked<T>(&mut self, answer: Result<T, RegistryClientError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if std::mem::take(&mut self.is_failing) {
                    info!(registry = self.registry.url(), "Registry answers again");
                }
                self.waits.reset();
                Some(answer)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let remedy = error.remedy().unwrap_or_default();
                    warn!(%error, %remedy, "Registry unreachable, trying again");
                }
                self.is_read = false;
                self.next_attempt = Some(Instant::now() + self.waits.next_wait());
                None
            }
        }
    }

    /// Marks what the registry has and the cluster has not.
    fn find_left_over(&mut self) {
        let is_left_over = |(id, registration): &(&ServiceId, &Arc<Registration>)| {
            !self.desired.contains_key(*id) && self.is_listed(registration)
        };
        let left_over = self.registered.iter().filter(is_left_over).map(|(id, _)| id.clone());
        let left_over: Vec<_> = left_over.collect();
        self.pending.extend(left_over);
    }

    fn is_listed(&self, registration: &Registration) -> bool {
        let namespace = registration.metadata.get(NAMESPACE).map(str::to_owned);
        self.listed.contains(&None) || self.listed.contains(&namespace)
    }

    fn follows(&self, registration: &Registration) -> bool {
        let namespace = registration.metadata.get(NAMESPACE);
        let is_followed = self.namespaces.is_empty()
            || namespace.is_some_and(|it| self.namespaces.iter().any(|namespace| namespace == it));
        is_followed && self.registrant.has_written(registration)
    }
}
