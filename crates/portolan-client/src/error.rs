//! The errors of a lookup, with the outcome of each strategy.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use portolan_core::duration::format_rounded;
use portolan_core::name::InvalidName;
use portolan_core::{HealthStatus, Remedy, Scope, ServiceEndpoint, ServiceName, escaped_line};

use crate::attempt::{Attempt, AttemptOutcome};
use crate::discovered::Discovered;
use crate::strategy::StrategyError;
use crate::strategy_name::UnknownStrategy;

/// Why a lookup ended without an instance.
///
/// [`DiscoverError::NotFound`] means that the service does not exist;
/// [`DiscoverError::CouldNotAsk`], that no strategy that would know could be asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The name is not valid. Retrying does not help.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The client has no strategy of a name. Retrying does not help.
    #[error(transparent)]
    UnknownStrategy(#[from] UnknownStrategy),
    /// The strategies agree that there is no instance. Retrying helps once an instance has started.
    #[error("no instance of {name} found in {}{}", listed(.scopes), lines(.attempts))]
    NotFound {
        /// The service.
        name: ServiceName,
        /// The scopes in which it was looked up.
        scopes: Vec<Scope>,
        /// Every strategy, in order.
        attempts: Vec<Attempt>,
    },
    /// The service is known, and none of its instances can be used: its program is starting, does not listen,
    /// or has ended. Retrying helps once it is ready.
    #[error("{}{}", escaped_line(.reason), lines(.attempts))]
    NotAvailable {
        /// The service.
        name: ServiceName,
        /// The state of the service and its reason.
        reason: String,
        /// What resolves it.
        remedy: String,
        /// Every strategy, in order.
        attempts: Vec<Attempt>,
    },
    /// No strategy that would know could be asked. Retrying helps once one can be asked.
    #[error("could not ask for {name}{}", lines(.attempts))]
    CouldNotAsk {
        /// The service.
        name: ServiceName,
        /// Every strategy, in order.
        attempts: Vec<Attempt>,
    },
    /// The deadline of the lookup passed. Retrying, or more time, may help.
    #[error("no answer for {name} within {}{}", format_rounded(*.limit), lines(.attempts))]
    TimedOut {
        /// The service.
        name: ServiceName,
        /// How long the lookup was allowed to take.
        limit: Duration,
        /// Every strategy, in order.
        attempts: Vec<Attempt>,
    },
    /// An instance was found and was not ready when the wait ended. Waiting longer may help.
    #[error("{name} at {address} is {health} after {}: {}", format_rounded(*.wait), escaped_line(.reason))]
    NotReady {
        /// The service.
        name: ServiceName,
        /// The host and port of the best instance.
        address: String,
        /// Its health.
        health: HealthStatus,
        /// The reason of its health.
        reason: String,
        /// How long the lookup waited.
        wait: Duration,
    },
    /// Discovery is disabled in the configuration.
    #[error("discovery is turned off (discovery.enabled is false)")]
    Disabled,
    /// The client is closed.
    #[error("the discovery client is closed")]
    Closed,
    /// None of the strategies has a change feed.
    #[error("a watch needs the strategy registry or broadcast; discovery.strategies has neither")]
    NothingToWatch,
}

// === impl DiscoverError ===

impl DiscoverError {
    /// Returns every strategy of the lookup in order, with its duration and outcome.
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::NotFound { attempts, .. }
            | Self::NotAvailable { attempts, .. }
            | Self::CouldNotAsk { attempts, .. }
            | Self::TimedOut { attempts, .. } => attempts,
            _ => &[],
        }
    }

    pub(crate) fn not_ready(found: &Discovered, wait: Duration) -> Self {
        Self::endpoint_not_ready(found, wait)
    }

    pub(crate) fn endpoint_not_ready(found: &ServiceEndpoint, wait: Duration) -> Self {
        Self::NotReady {
            name: found.name.clone(),
            address: found.address(),
            health: found.health,
            reason: match found.health_reason.as_str() {
                "" => "no result of its health check yet".to_owned(),
                reason => reason.to_owned(),
            },
            wait,
        }
    }

    /// Returns whether a strategy that might know an instance did not permit the lookup, as a registry that
    /// requires another token. Retrying does not help.
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, Self::CouldNotAsk { .. } | Self::TimedOut { .. })
            && failed(self.attempts()).any(StrategyError::is_not_permitted)
    }

    /// Returns whether the same lookup fails again in any case.
    pub(crate) fn is_permanent(&self) -> bool {
        self.is_not_permitted()
            || !matches!(
                self,
                Self::NotFound { .. }
                    | Self::NotAvailable { .. }
                    | Self::CouldNotAsk { .. }
                    | Self::TimedOut { .. }
                    | Self::NotReady { .. }
            )
    }

    /// Returns whether a strategy that might know an instance could not be asked, so that a stale
    /// answer is better than none.
    pub(crate) fn is_inconclusive(&self) -> bool {
        match self {
            Self::CouldNotAsk { .. } | Self::TimedOut { .. } => true,
            Self::NotFound { attempts, .. } => failed(attempts).next().is_some(),
            _ => false,
        }
    }

    /// Derives the error from attempts of which none found an instance within the limit.
    pub(crate) fn from_attempts(
        name: ServiceName,
        scopes: Vec<Scope>,
        limit: Duration,
        attempts: Vec<Attempt>,
    ) -> Self {
        use AttemptOutcome::{Failed, NotAsked, NotFound, NotReady};
        let known = attempts.iter().find_map(|attempt| match &attempt.outcome {
            NotReady { reason, remedy } => Some((reason.clone(), remedy.clone())),
            _ => None,
        });
        if let Some((reason, remedy)) = known {
            return Self::NotAvailable { name, reason, remedy, attempts };
        }
        let any = |is: fn(&AttemptOutcome) -> bool| attempts.iter().any(|a| is(&a.outcome));
        let not_found = any(|outcome| matches!(outcome, NotFound { .. }));
        let not_asked = any(|outcome| matches!(outcome, NotAsked));
        let has_failed = failed(&attempts).next().is_some();
        // Who comes first knows more: a broadcast without an answer does not make up for a registry
        // that could not be asked.
        let decisive = attempts.iter().find_map(|attempt| match &attempt.outcome {
            NotFound { authoritative: true, .. } => Some(true),
            Failed(error) if !error.is_optional() => Some(false),
            _ => None,
        });
        if decisive == Some(true) || (not_found && !has_failed && !not_asked) {
            Self::NotFound { name, scopes, attempts }
        } else if not_asked {
            Self::TimedOut { name, limit, attempts }
        } else {
            Self::CouldNotAsk { name, attempts }
        }
    }
}

impl Remedy for DiscoverError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::InvalidName(_) => None,
            Self::UnknownStrategy(error) => error.remedy(),
            Self::NotFound { name, attempts, .. }
            | Self::CouldNotAsk { name, attempts }
            | Self::TimedOut { name, attempts, .. } => Some(next_step(name, attempts).into()),
            Self::NotAvailable { remedy, .. } => Some(remedy.clone().into()),
            Self::NotReady { .. } => Some("read the log of the service, or wait longer".into()),
            Self::Disabled => Some("set discovery.enabled to true".into()),
            Self::Closed => Some("build a new client".into()),
            Self::NothingToWatch => {
                Some("add registry or broadcast to discovery.strategies".into())
            }
        }
    }
}

fn failed(attempts: &[Attempt]) -> impl Iterator<Item = &StrategyError> {
    attempts.iter().filter_map(|attempt| match &attempt.outcome {
        AttemptOutcome::Failed(error) => Some(&**error),
        _ => None,
    })
}

fn listed(scopes: &[Scope]) -> String {
    let names: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    let noun = if names.len() == 1 { "scope" } else { "scopes" };
    format!("{noun} {}", names.join(", "))
}

/// Returns the attempts, one per line.
fn lines(attempts: &[Attempt]) -> String {
    attempts.iter().fold(String::new(), |mut lines, attempt| {
        // Writing to a string cannot fail.
        let _ = write!(lines, "\n  {attempt}");
        lines
    })
}

/// Returns the remedies of the failed strategies, or else how to start the service.
fn next_step(name: &ServiceName, attempts: &[Attempt]) -> String {
    let mut steps: Vec<Cow<'_, str>> = failed(attempts).filter_map(Remedy::remedy).collect();
    if failed(attempts).next().is_none() {
        steps.push(format!("start it with `portolan run --name {name} -- COMMAND`").into());
    } else if steps.is_empty() {
        steps.push("resolve the errors of the strategies".into());
    }
    steps.push(format!("set discovery.endpoints.{name} to its address").into());
    steps.join(", or ")
}

#[cfg(test)]
mod tests;
