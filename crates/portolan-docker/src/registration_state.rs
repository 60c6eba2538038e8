//! What the registry is known to have, and the operations that bring it in step with what is desired. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_client::{Operation, RegistryClientError};
use portolan_core::{HealthReport, Incarnation, Registration, Remedy as _, ServiceId};
use tracing::{info, warn};

use crate::follower::Desired;
use crate::instance::Instance;

/// What the registry is known to have.
#[derive(Debug)]
pub(crate) struct RegistrationState {
    incarnation: Incarnation,
    registered: BTreeMap<ServiceId, Registered>,
    /// Those that may be registered too: a request without an answer may have been applied.
    attempted: BTreeSet<ServiceId>,
    /// Those that the registry refuses. They are tried again when they change, and with the heartbeats unless another registrant owns them.
    refused: BTreeMap<ServiceId, Refused>,
}

#[derive(Debug)]
struct Registered {
    registration: Registration,
    health: Option<HealthReport>,
}

#[derive(Debug)]
struct Refused {
    instance: Arc<Instance>,
    is_owned_by_another: bool,
    reason: String,
}

/// What is to be done after a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Wait,
    /// The registry has lost the instance: to be registered again at once.
    Again,
    /// To be tried again later.
    Retry,
}

// === impl RegistrationState ===

impl RegistrationState {
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            registered: BTreeMap::new(),
            attempted: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Returns the operations that are to be sent, in their order. `heartbeat` renews every lease.
    pub(crate) fn plan(&mut self, desired: &Desired, heartbeat: bool) -> Vec<Operation> {
        self.refused.retain(|id, refused| desired.instances.get(id) == Some(&refused.instance));
        let mut operations = self.obsolete(desired);
        for (id, instance) in &desired.instances {
            let is_due = |refused: &Refused| heartbeat && !refused.is_owned_by_another;
            if self.refused.get(id).is_none_or(is_due) {
                self.plan_one(id, instance, heartbeat, &mut operations);
            }
        }
        let registers = |it: &&Operation| matches!(it, Operation::Register(_));
        self.attempted.extend(operations.iter().filter(registers).map(Operation::id));
        operations
    }

    fn obsolete(&self, desired: &Desired) -> Vec<Operation> {
        let gone = self.attempted.iter().filter(|id| !desired.instances.contains_key(*id));
        gone.map(|id| Operation::Deregister(id.clone())).collect()
    }

    fn plan_one(
        &self,
        id: &ServiceId,
        instance: &Instance,
        heartbeat: bool,
        operations: &mut Vec<Operation>,
    ) {
        let incarnation = Some(self.incarnation);
        let registration = Registration { incarnation, ..instance.registration.clone() };
        let known = self.registered.get(id).filter(|known| known.registration == registration);
        match known {
            None => operations.push(Operation::Register(Box::new(registration))),
            Some(_) if heartbeat => operations.push(Operation::Heartbeat(id.clone())),
            Some(_) => {}
        }
        if let Some(health) = &instance.health
            && known.is_none_or(|known| known.health.as_ref() != Some(health))
        {
            operations.push(Operation::Health(id.clone(), health.clone()));
        }
    }

    /// Returns the operations that deregister everything.
    pub(crate) fn withdrawal(&self) -> Vec<Operation> {
        self.obsolete(&Desired::default())
    }

    /// Records the result of an operation.
    pub(crate) fn record(
        &mut self,
        operation: &Operation,
        result: Result<(), RegistryClientError>,
        desired: &Desired,
    ) -> Next {
        let id = operation.id();
        match result {
            Ok(()) => {
                self.succeeded(operation, id);
                Next::Wait
            }
            Err(error) => self.failed(operation, id, &error, desired),
        }
    }

    fn succeeded(&mut self, operation: &Operation, id: ServiceId) {
        match operation {
            Operation::Register(registration) => {
                info!(service_name = %registration.name, service_id = %id, address = registration.host.with_port(registration.port), "Container registered");
                self.refused.remove(&id);
                let registration = (**registration).clone();
                self.registered.insert(id, Registered { registration, health: None });
            }
            Operation::Deregister(_) => {
                info!(service_id = %id, "Container deregistered");
                self.registered.remove(&id);
                self.attempted.remove(&id);
            }
            Operation::Heartbeat(_) => {}
            Operation::Health(_, health) => {
                if let Some(known) = self.registered.get_mut(&id) {
                    known.health = Some(health.clone());
                }
            }
        }
    }

    fn failed(
        &mut self,
        operation: &Operation,
        id: ServiceId,
        error: &RegistryClientError,
        desired: &Desired,
    ) -> Next {
        if error.is_temporary() {
            return Next::Retry;
        }
        self.registered.remove(&id);
        self.attempted.remove(&id);
        match (operation, error) {
            (Operation::Deregister(_), _) => Next::Wait,
            (_, RegistryClientError::UnknownService { .. }) => Next::Again,
            _ => {
                let is_owned_by_another = matches!(error, RegistryClientError::Conflict { .. });
                let reason = error.with_remedy();
                let known = self.refused.get(&id).is_some_and(|known| known.reason == reason);
                if !known {
                    warn!(service_id = %id, error = reason, "Container not registered, the registry refused it");
                }
                if let Some(instance) = desired.instances.get(&id).cloned() {
                    self.refused.insert(id, Refused { instance, is_owned_by_another, reason });
                }
                Next::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests;
