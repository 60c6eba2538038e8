//! Why a service was not found: what everybody answered, and what to do next.

use std::fmt;
use std::time::Duration;

use portolan_core::duration::format_rounded;
use portolan_core::name::InvalidName;
use portolan_core::{Scope, ServiceName};

use crate::attempt::{Attempt, AttemptOutcome};
use crate::strategy::UnknownStrategy;

/// Why a discovery ended without an instance.
///
/// [`DiscoverError::NotFound`] says that the service is not there; [`DiscoverError::CouldNotAsk`], that nobody
/// could be asked who would know.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The name is none. Retrying does not help.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// A strategy's name is none. Retrying does not help.
    #[error(transparent)]
    UnknownStrategy(#[from] UnknownStrategy),
    /// Everybody who could be asked says that there is no instance. Retrying helps once it is started.
    #[error("no instance of {name} found in {}{}", listed(.scopes), tried(.name, .attempts))]
    NotFound {
        /// The service.
        name: ServiceName,
        /// The scopes in which it was looked up.
        scopes: Vec<Scope>,
        /// Every strategy, in order.
        attempts: Vec<Attempt>,
    },
    /// Nobody could be asked who would know. Retrying helps once they can be.
    #[error("could not ask for {name}{}", tried(.name, .attempts))]
    CouldNotAsk {
        /// The service.
        name: ServiceName,
        /// Every strategy, in order.
        attempts: Vec<Attempt>,
    },
    /// The time for all strategies was over. Retrying, or more time, may help.
    #[error("no answer for {name} within {}{}", format_rounded(*.limit), tried(.name, .attempts))]
    TimedOut {
        /// The service.
        name: ServiceName,
        /// How long it might take.
        limit: Duration,
        /// Every strategy, in order.
        attempts: Vec<Attempt>,
    },
    /// The configuration turns discovery off.
    #[error("discovery is turned off; set discovery.enabled to true")]
    Disabled,
    /// The client was closed.
    #[error("the discovery client is closed; build a new one")]
    Closed,
    /// None of the configured strategies tells of changes.
    #[error("a watch needs the strategy registry or broadcast; name one in discovery.strategies")]
    NothingToWatch,
}

// === impl DiscoverError ===

impl DiscoverError {
    /// Every strategy that was tried, in order, with its time and its reason.
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::NotFound { attempts, .. }
            | Self::CouldNotAsk { attempts, .. }
            | Self::TimedOut { attempts, .. } => attempts,
            _ => &[],
        }
    }

    /// Whether somebody might have known and could not be asked, so that what was known before is
    /// better than nothing.
    pub(crate) fn is_want_of_answers(&self) -> bool {
        match self {
            Self::CouldNotAsk { .. } | Self::TimedOut { .. } => true,
            Self::NotFound { attempts, .. } => {
                attempts.iter().any(|attempt| matches!(attempt.answer, AttemptOutcome::Failed(_)))
            }
            _ => false,
        }
    }

    /// What follows from the attempts, none of which found anything within the limit.
    pub(crate) fn of(
        name: ServiceName,
        scopes: Vec<Scope>,
        limit: Duration,
        attempts: Vec<Attempt>,
    ) -> Self {
        let any = |key: fn(&AttemptOutcome) -> bool| attempts.iter().any(|a| key(&a.answer));
        let somebody_knows =
            any(|answer| matches!(answer, AttemptOutcome::NotFound { sure: true, .. }));
        let somebody_said_no = any(|answer| matches!(answer, AttemptOutcome::NotFound { .. }));
        let somebody_failed = any(|answer| matches!(answer, AttemptOutcome::Failed(_)));
        let somebody_waits = any(|answer| matches!(answer, AttemptOutcome::NotAsked));
        match somebody_knows || (somebody_said_no && !somebody_failed && !somebody_waits) {
            true => Self::NotFound { name, scopes, attempts },
            false if somebody_waits => Self::TimedOut { name, limit, attempts },
            false => Self::CouldNotAsk { name, attempts },
        }
    }
}

fn listed(scopes: &[Scope]) -> String {
    let names: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    let noun = if names.len() == 1 { "scope" } else { "scopes" };
    format!("{noun} {}", names.join(", "))
}

/// The attempts, one a line, and what to do next.
fn tried(name: &ServiceName, attempts: &[Attempt]) -> Tried {
    let lines = attempts.iter().map(|attempt| format!("\n  {attempt}")).collect();
    let failed = attempts.iter().any(|attempt| matches!(attempt.answer, AttemptOutcome::Failed(_)));
    let next = match failed {
        true => "mend what could not be asked, or name the endpoint as",
        false => "start it with `portolan run --name NAME -- COMMAND`, or name its endpoint as",
    };
    let next = next.replace("NAME", name.as_str());
    Tried { lines, next: format!("\nnext: {next} discovery.endpoints.{name}") }
}

struct Tried {
    lines: String,
    next: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines)?;
        f.write_str(&self.next)
    }
}

#[cfg(test)]
mod tests;
