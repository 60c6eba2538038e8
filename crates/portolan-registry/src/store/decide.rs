//! The rules of the registry: what a command means for what is known, as pure functions.
//!
//! Every store uses them, so that all stores behave the same. They borrow the command, so that a
//! store that commits by compare-and-swap can decide again.

use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::{HealthReport, HealthStatus, Registration, ServiceEndpoint, Ttl};

use crate::{Command, CommandOutcome, Registered, RegistryConfig, RegistryError, Source};

/// The length of a health reason, in characters. Longer ones are truncated.
const MAX_REASON: usize = 512;

/// An instance as the store knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) endpoint: &'a ServiceEndpoint,
    pub(crate) source: Source,
}

/// The values that a decision depends on besides the instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) ttl_default: Ttl,
    pub(crate) now: Timestamp,
}

/// What the store is to do.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
pub(crate) enum Decision {
    /// Store the endpoint, and emit what the effect says.
    Put(ServiceEndpoint, Effect),
    /// Remove the endpoint.
    Remove,
}

/// What storing an endpoint changes for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A new instance.
    Registered,
    /// The instance moved to another service or scope: deregistered there, registered here.
    Moved,
    /// Its registration changed.
    Updated,
    /// Its health status changed.
    Health,
    /// No change, and no revision.
    Renewed,
}

/// The largest number of endpoints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointLimits {
    total: usize,
    broadcast: usize,
}

/// Decides what a command means for an instance.
pub(crate) fn decide(
    command: &Command,
    source: Source,
    known: Option<Known<'_>>,
    terms: Terms,
) -> Result<Decision, RegistryError> {
    let from_broadcast = source == Source::Broadcast;
    if from_broadcast && known.is_some_and(|known| known.source == Source::Api) {
        return Err(RegistryError::RegisteredByApi { id: command.id() });
    }
    let decision = match (command, known) {
        (Command::Register(registration), known) => {
            return register(registration.clone(), known, terms);
        }
        (Command::Deregister(_), Some(_)) => Some(Decision::Remove),
        // Learned by broadcast only: unknown to the API, so that its service registers.
        (Command::Heartbeat(_), Some(known)) if known.source != source => None,
        (Command::Heartbeat(_), Some(known)) => Some(renew(known.endpoint, terms.now)),
        (Command::Health(_, report), Some(known)) => Some(health(known.endpoint, report)),
        (_, None) => None,
    };
    decision.ok_or_else(|| RegistryError::Unknown { id: command.id() })
}

/// The outcome of a command whose decision was to store an endpoint, once it is stored.
pub(crate) fn outcome(
    command: &Command,
    endpoint: Arc<ServiceEndpoint>,
    effect: Effect,
    moved_from: Option<Arc<ServiceEndpoint>>,
) -> CommandOutcome {
    match command {
        Command::Register(_) => {
            let (created, changed) = (effect == Effect::Registered, effect != Effect::Renewed);
            CommandOutcome::Registered(Registered { endpoint, created, changed, moved_from })
        }
        Command::Health(..) => CommandOutcome::HealthUpdated(endpoint),
        Command::Heartbeat(_) | Command::Deregister(_) => CommandOutcome::Renewed,
    }
}

fn register(
    registration: Registration,
    known: Option<Known<'_>>,
    terms: Terms,
) -> Result<Decision, RegistryError> {
    registration.validate()?;
    let new = registration.into_endpoint(terms.ttl_default, terms.now);
    Ok(match known {
        None => Decision::Put(new, Effect::Registered),
        Some(Known { endpoint: old, .. }) if new.same_contents(old) => renew(old, terms.now),
        Some(Known { endpoint: old, .. }) => {
            let moved = (&old.name, &old.scope) != (&new.name, &new.scope);
            let effect = if moved { Effect::Moved } else { Effect::Updated };
            Decision::Put(replace(old, new), effect)
        }
    })
}

/// The new endpoint with what it keeps of the old one: its age, and its health if that was checked
/// at the same address.
fn replace(old: &ServiceEndpoint, mut new: ServiceEndpoint) -> ServiceEndpoint {
    new.registered_at = old.registered_at;
    new.revision = old.revision;
    if (&old.host, old.port, &old.health_url) == (&new.host, new.port, &new.health_url) {
        new.health = old.health;
        new.health_reason.clone_from(&old.health_reason);
    }
    new
}

fn renew(endpoint: &ServiceEndpoint, now: Timestamp) -> Decision {
    let endpoint = ServiceEndpoint { last_heartbeat: now, ..endpoint.clone() };
    Decision::Put(endpoint, Effect::Renewed)
}

fn health(endpoint: &ServiceEndpoint, report: &HealthReport) -> Decision {
    let effect = if endpoint.health == report.status { Effect::Renewed } else { Effect::Health };
    let HealthReport { status, ref reason } = *report;
    let endpoint =
        ServiceEndpoint { health: status, health_reason: one_line(reason), ..endpoint.clone() };
    Decision::Put(endpoint, effect)
}

/// One line of bounded length: a reason is the output of a check, which may be anything.
fn one_line(reason: &str) -> String {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    match reason.chars().nth(MAX_REASON) {
        None => reason.chars().map(line).collect(),
        Some(_) => reason.chars().map(line).take(MAX_REASON - 1).chain(['…']).collect(),
    }
}

/// Whether the instance counts as unhealthy.
pub(crate) fn is_critical(endpoint: &ServiceEndpoint) -> bool {
    endpoint.health == HealthStatus::Critical
}

// === impl EndpointLimits ===

impl EndpointLimits {
    /// Half of the endpoints at most may be learned by broadcast, rounded up.
    pub(crate) fn from_config(config: &RegistryConfig) -> Self {
        Self { total: config.max_endpoints, broadcast: config.max_endpoints.div_ceil(2) }
    }

    /// Checks whether one more endpoint of the source may be stored.
    pub(crate) fn check(
        self,
        source: Source,
        total: usize,
        broadcast: usize,
    ) -> Result<(), RegistryError> {
        if total >= self.total {
            Err(RegistryError::Full { limit: self.total })
        } else if source == Source::Broadcast && broadcast >= self.broadcast {
            Err(RegistryError::BroadcastFull { limit: self.broadcast })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_reason_is_one_line_of_bounded_length() {
        assert_eq!(one_line("refused\n(os error 111)"), "refused (os error 111)");
        let kept = one_line(&"ä".repeat(5000));
        assert_eq!(kept.chars().count(), MAX_REASON);
        assert!(kept.ends_with('…'));
        assert_eq!(one_line(&"a".repeat(MAX_REASON)).len(), MAX_REASON);
    }
}
