//! What a command means for what is known: the rules of the registry, as one pure function.
//!
//! Every store asks it, so that all of them mean the same. Knows nothing of leases or revisions.

use jiff::Timestamp;
use portolan_core::{HealthReport, HealthStatus, Registration, ServiceEndpoint, Ttl};

use crate::{Command, RegistryError, Source};

/// How many characters of a health reason are kept: enough for a person, too few for a flood.
const REASON: usize = 512;

/// An instance as the store knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) endpoint: &'a ServiceEndpoint,
    pub(crate) source: Source,
}

/// What holds for every registration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) ttl_default: Ttl,
    pub(crate) now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
pub(crate) enum Decision {
    /// Keep this, and tell it as `News` says.
    Put(ServiceEndpoint, News),
    /// Keep it no longer.
    Remove,
}

/// How something kept is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// There was no such instance.
    Registered,
    /// It was an instance of another service, or in another scope, and goes from there.
    Moved,
    /// It says something else of itself.
    Updated,
    /// Its health is another one.
    Health,
    /// Nothing that makes a revision.
    Nothing,
}

/// What the command of the source means for what is known of the instance.
pub(crate) fn decide(
    command: Command,
    source: Source,
    known: Option<Known<'_>>,
    terms: Terms,
) -> Result<Decision, RegistryError> {
    let id = command.id();
    let from_broadcast = source == Source::Broadcast;
    if from_broadcast && known.is_some_and(|known| known.source == Source::Api) {
        return Err(RegistryError::RegisteredByApi { id });
    }
    let decision = match (command, known) {
        (Command::Register(registration), known) => return register(registration, known, terms),
        (Command::Deregister(_), Some(_)) => Some(Decision::Remove),
        // Known by hearsay only: the service shall register, so that the API's word counts.
        (Command::Heartbeat(_), Some(known)) if known.source != source => None,
        (Command::Heartbeat(_), Some(known)) => Some(alive(known.endpoint, terms.now)),
        (Command::Health(_, report), Some(known)) => Some(health(known.endpoint, &report)),
        (_, None) => None,
    };
    decision.ok_or(RegistryError::Unknown { id })
}

fn register(
    registration: Registration,
    known: Option<Known<'_>>,
    terms: Terms,
) -> Result<Decision, RegistryError> {
    registration.validate()?;
    let new = registration.into_endpoint(terms.ttl_default, terms.now);
    Ok(match known {
        None => Decision::Put(new, News::Registered),
        Some(Known { endpoint: old, .. }) if new.same_contents(old) => alive(old, terms.now),
        Some(Known { endpoint: old, .. }) => {
            Decision::Put(succeed(old, new.clone()), news(old, &new))
        }
    })
}

fn news(old: &ServiceEndpoint, new: &ServiceEndpoint) -> News {
    match old.name == new.name && old.scope == new.scope {
        true => News::Updated,
        false => News::Moved,
    }
}

/// What the new one takes over from the old one: its age, and its health where that was found at
/// the same place.
fn succeed(old: &ServiceEndpoint, mut new: ServiceEndpoint) -> ServiceEndpoint {
    new.registered_at = old.registered_at;
    new.revision = old.revision;
    if (&old.host, old.port, &old.health_url) == (&new.host, new.port, &new.health_url) {
        new.health = old.health;
        new.health_reason.clone_from(&old.health_reason);
    }
    new
}

fn alive(endpoint: &ServiceEndpoint, now: Timestamp) -> Decision {
    let endpoint = ServiceEndpoint { last_heartbeat: now, ..endpoint.clone() };
    Decision::Put(endpoint, News::Nothing)
}

fn health(endpoint: &ServiceEndpoint, report: &HealthReport) -> Decision {
    let news = match endpoint.health == report.status {
        true => News::Nothing,
        false => News::Health,
    };
    let HealthReport { status, ref reason } = *report;
    let endpoint =
        ServiceEndpoint { health: status, health_reason: in_brief(reason), ..endpoint.clone() };
    Decision::Put(endpoint, news)
}

/// One line of bounded length: reasons are the output of checks, and say whatever they like.
fn in_brief(reason: &str) -> String {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    match reason.chars().nth(REASON) {
        None => reason.chars().map(line).collect(),
        Some(_) => reason.chars().map(line).take(REASON - 1).chain(['…']).collect(),
    }
}

/// Whether the instance counts as unwell.
pub(crate) fn is_critical(endpoint: &ServiceEndpoint) -> bool {
    endpoint.health == HealthStatus::Critical
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        assert_eq!(in_brief("refused\n(os error 111)"), "refused (os error 111)");
        let kept = in_brief(&"ä".repeat(5000));
        assert_eq!(kept.chars().count(), REASON);
        assert!(kept.ends_with('…'));
        assert_eq!(in_brief(&"a".repeat(REASON)).len(), REASON);
    }
}
