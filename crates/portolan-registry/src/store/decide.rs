//! The rules of the registry: the effect of a command on the current state, as pure functions.
//!
//! Every store uses them, so that all stores behave the same. They borrow the command, so that a
//! store that commits by compare-and-swap can decide again.

use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::{
    HealthReport, HealthStatus, Registration, Revision, ServiceEndpoint, ServiceId, Source, Ttl,
};

use super::owner::{Owner, Place};
use super::record::StoreRecord;
use crate::{Command, CommandOrigin, CommandOutcome, Registered, RegistryError};

mod limits;
mod owners;
mod rights;
mod sessions;

pub(crate) use limits::CommandRules;
#[cfg(any(feature = "etcd", feature = "consul"))]
pub(crate) use limits::EndpointLimits;
use owners::{check_fenced, check_incarnation, check_owner, registered_in_consul};
use rights::{check_right_to_displace, check_right_to_known, check_right_to_register};

/// The length of a health reason, in characters. Longer ones are truncated.
const MAX_REASON: usize = 512;

/// The metadata entries of an instance that is registered in Consul: the id of its service, and its node.
pub(crate) const CONSUL_SERVICE: &str = "consul-service-id";
pub(crate) const CONSUL_NODE: &str = "consul-node";

/// An instance as the store knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) endpoint: &'a ServiceEndpoint,
    pub(crate) owner: &'a Owner,
}

/// The instances that a command may concern.
#[derive(Debug, Clone, Default)]
pub(crate) struct Concerned<'a> {
    /// The instance with the id of the command.
    pub(crate) known: Option<Known<'a>>,
    /// The instance whose owner has fenced an incarnation of the id, if it has another id.
    pub(crate) successor: Option<Known<'a>>,
    /// The other instances at a place of the registration.
    pub(crate) neighbours: Vec<Known<'a>>,
}

/// The values that a decision depends on besides the instances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) origin: &'a CommandOrigin,
    pub(crate) ttl_default: Ttl,
    pub(crate) now: Timestamp,
}

/// What the store is to do.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
pub(crate) enum Decision {
    /// Remove the displaced instances, store the endpoint, and emit what the effect says.
    Put(Put),
    /// Remove the endpoint.
    Remove,
}

/// An endpoint to be stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Put {
    pub(crate) endpoint: ServiceEndpoint,
    pub(crate) effect: Effect,
    /// The new owner; `None` leaves it unchanged.
    pub(crate) owner: Option<Owner>,
    /// The instances that are deregistered, because this one is at their address.
    pub(crate) displaced: Vec<ServiceId>,
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

/// Decides what a command means for the instances that it concerns.
pub(crate) fn decide(
    command: &Command,
    concerned: &Concerned<'_>,
    terms: Terms<'_>,
) -> Result<Decision, RegistryError> {
    let (id, source) = (command.id(), terms.origin.source());
    let known_by = concerned.known.map(|known| known.endpoint.source);
    if source == Source::Broadcast && known_by == Some(Source::Registered) {
        return Err(RegistryError::RegisteredByApi { id });
    }
    if let Some(error) = concerned.known.and_then(registered_in_consul) {
        return Err(error);
    }
    check_right_to_known(command, concerned, terms.origin)?;
    match command {
        Command::Register(registration) => return register(registration, concerned, terms),
        Command::Restore(record) => return restore(record, concerned, terms),
        _ => {}
    }
    check_fenced(&id, command.incarnation(), concerned, source, |_| true)?;
    let known = concerned.known.ok_or_else(|| RegistryError::Unknown { id: id.clone() })?;
    // Learned by broadcast only: unknown to the API, so that its service registers.
    let from_owner = matches!(command, Command::Heartbeat(_) | Command::Attach(..))
        || command.incarnation().is_some();
    if from_owner && known_by != Some(source) {
        return Err(RegistryError::Unknown { id });
    }
    check_incarnation(command, known.endpoint)?;
    Ok(match command {
        Command::Health(_, report) => health(known.endpoint, report),
        Command::Deregister(_) => Decision::Remove,
        Command::Attach(_, session) => sessions::attach(known, *session),
        Command::Vanish(_, session) => sessions::vanish(known, *session)?,
        Command::Heartbeat(_) | Command::Register(_) | Command::Restore(_) => {
            renew(known.endpoint, terms.now)
        }
    })
}

/// The outcome of a command whose decision was to store an endpoint, once it is stored.
pub(crate) fn outcome(
    command: &Command,
    endpoint: Arc<ServiceEndpoint>,
    effect: Effect,
    moved_from: Option<Arc<ServiceEndpoint>>,
    displaced: Vec<(Arc<ServiceEndpoint>, Revision)>,
) -> CommandOutcome {
    match command {
        Command::Register(_) | Command::Restore(_) => {
            let (created, changed) = (effect == Effect::Registered, effect != Effect::Renewed);
            CommandOutcome::Registered(Registered {
                endpoint,
                created,
                changed,
                moved_from,
                displaced,
            })
        }
        Command::Health(..) => CommandOutcome::HealthUpdated(endpoint),
        _ => CommandOutcome::Renewed,
    }
}

fn register(
    registration: &Registration,
    concerned: &Concerned<'_>,
    terms: Terms<'_>,
) -> Result<Decision, RegistryError> {
    registration.validate()?;
    let mut new = registration.clone().into_endpoint(terms.ttl_default, terms.now);
    new.source = terms.origin.source();
    check_right_to_register(&new, terms.origin)?;
    // A displaced instance that moved to another address is not rejected there.
    let is_rival = |other: &ServiceEndpoint| {
        Place::all(&new).any(|place| Place::all(other).any(|taken| taken == place))
    };
    check_fenced(&new.id, new.incarnation, concerned, new.source, is_rival)?;
    let mut owner = Owner::new(terms.origin);
    let (new, effect) = match concerned.known {
        None => (new, Effect::Registered),
        Some(Known { endpoint: old, owner: current }) => {
            if new.source == old.source {
                check_owner(registration, &new, old, current, terms.origin)?;
            }
            owner.replace(&new, old, current);
            if new.same_contents(old) && new.source == old.source {
                return Ok(renew_owned(old, current, &owner, terms.now));
            }
            let moved = (&old.name, &old.scope) != (&new.name, &new.scope);
            (replace(old, new), if moved { Effect::Moved } else { Effect::Updated })
        }
    };
    let displaced = displaced(&new, concerned, terms.origin)?;
    check_right_to_displace(&displaced, terms.origin)?;
    displaced.iter().for_each(|other| owner.replace(&new, other.endpoint, other.owner));
    let displaced = displaced.into_iter().map(|other| other.endpoint.id.clone()).collect();
    Ok(Decision::Put(Put { endpoint: new, effect, owner: Some(owner), displaced }))
}

/// Stores an instance of another store. What this store knows is newer, so it is never replaced.
fn restore(
    record: &StoreRecord,
    concerned: &Concerned<'_>,
    terms: Terms<'_>,
) -> Result<Decision, RegistryError> {
    record.validate()?;
    let endpoint = ServiceEndpoint { last_heartbeat: terms.now, ..record.endpoint.clone() };
    let id = || endpoint.id.clone();
    if let Some(known) = concerned.known {
        return Err(RegistryError::Exists { id: id(), other: known.endpoint.id.clone() });
    }
    check_fenced(&endpoint.id, endpoint.incarnation, concerned, endpoint.source, |_| true)?;
    if let Some(other) = displaced(&endpoint, concerned, terms.origin)?.first() {
        return Err(RegistryError::Exists { id: id(), other: other.endpoint.id.clone() });
    }
    let owner = Some(record.owner.clone());
    Ok(Decision::Put(Put { endpoint, effect: Effect::Registered, owner, displaced: Vec::new() }))
}

/// Renews a registration. Its owner may have another address now.
fn renew_owned(
    endpoint: &ServiceEndpoint,
    current: &Owner,
    new: &Owner,
    now: Timestamp,
) -> Decision {
    let mut decision = renew(endpoint, now);
    if let Decision::Put(put) = &mut decision
        && endpoint.incarnation.is_some()
        && current.peer != new.peer
    {
        put.owner = Some(new.clone());
    }
    decision
}

/// Returns the instances that the new one displaces: those at its address that the same host registered, or
/// that were learned by broadcast, which cannot displace a registration. One run of a registrant knows of both: it may
/// register two services at one address, as a pod behind two Services of Kubernetes.
fn displaced<'a>(
    new: &ServiceEndpoint,
    concerned: &Concerned<'a>,
    origin: &CommandOrigin,
) -> Result<Vec<Known<'a>>, RegistryError> {
    let mut displaced = Vec::new();
    let in_consul = |other: &&Known<'_>| other.endpoint.source == Source::Consul;
    for other in concerned.neighbours.iter().filter(|other| !in_consul(other)) {
        let is_weaker = other.endpoint.source == Source::Broadcast;
        if !is_weaker && new.source == Source::Broadcast {
            return Err(RegistryError::RegisteredByApi { id: other.endpoint.id.clone() });
        }
        let is_same_run = other.endpoint.incarnation.is_some()
            && other.endpoint.incarnation == new.incarnation
            && (&other.endpoint.name, &other.endpoint.scope) != (&new.name, &new.scope);
        if is_same_run && other.endpoint.source == new.source {
            continue;
        }
        let overrules = is_weaker && new.source == Source::Registered;
        if overrules || other.owner.is_on_host_of(other.endpoint, origin, new) {
            displaced.push(*other);
        }
    }
    Ok(displaced)
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
    Decision::Put(Put::unchanged(endpoint, Effect::Renewed))
}

fn health(endpoint: &ServiceEndpoint, report: &HealthReport) -> Decision {
    let effect = if endpoint.health == report.status { Effect::Renewed } else { Effect::Health };
    let HealthReport { status, ref reason } = *report;
    let endpoint =
        ServiceEndpoint { health: status, health_reason: one_line(reason), ..endpoint.clone() };
    Decision::Put(Put::unchanged(endpoint, effect))
}

/// One line of bounded length: a reason is the output of a check, which may be anything.
pub(crate) fn one_line(reason: &str) -> String {
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

// === impl Effect ===

impl Effect {
    /// Whether the registration is new or another one than before.
    pub(crate) fn is_registration(self) -> bool {
        matches!(self, Self::Registered | Self::Moved | Self::Updated)
    }
}

// === impl Put ===

impl Put {
    /// An endpoint of the same owner, at the same address.
    fn unchanged(endpoint: ServiceEndpoint, effect: Effect) -> Self {
        Self { endpoint, effect, owner: None, displaced: Vec::new() }
    }

    /// Restores the health that an instance had before it was kept although its lease ended: for a command that renews
    /// the lease.
    pub(crate) fn restore_health(&mut self, kept: &ServiceEndpoint, before: &HealthReport) {
        let new = &mut self.endpoint;
        if (new.health, &new.health_reason) != (kept.health, &kept.health_reason) {
            // It is at another address now, which was not checked yet.
            return;
        }
        if self.effect == Effect::Renewed && new.health != before.status {
            self.effect = Effect::Health;
        }
        (new.health, new.health_reason) = (before.status, before.reason.clone());
    }
}

#[cfg(test)]
mod tests;
