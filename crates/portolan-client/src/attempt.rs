//! What was tried to find a service, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::ServiceEndpoint;
use portolan_core::duration::format_rounded;
use tokio::time::Instant;

use crate::StrategyName;
use crate::strategy::StrategyError;

/// One strategy, and how it went.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Which one.
    pub strategy: StrategyName,
    /// How long it took.
    pub took: Duration,
    /// What it answered.
    pub answer: AttemptOutcome,
}

/// What a strategy answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// These instances.
    Found(Vec<Arc<ServiceEndpoint>>),
    /// There is none, as far as it can know.
    NotFound {
        /// What it looked at.
        reason: String,
        /// Whether it would know of an instance if there were one.
        sure: bool,
    },
    /// There was nothing that it could ask.
    Skipped(String),
    /// It could not ask.
    Failed(Arc<StrategyError>),
    /// The time for all of them was over before it answered.
    Interrupted,
    /// Its turn did not come.
    NotAsked,
}

/// Collects attempts while they are made, so that those who stop waiting can tell of them.
pub(crate) struct AttemptLog {
    order: Vec<StrategyName>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    attempts: Vec<Attempt>,
    begun: Option<Instant>,
}

// === impl AttemptLog ===

impl AttemptLog {
    /// Nothing yet, of these strategies in this order.
    pub(crate) fn of(order: Vec<StrategyName>) -> Self {
        Self { order, progress: Mutex::default() }
    }

    pub(crate) fn order(&self) -> &[StrategyName] {
        &self.order
    }

    /// The next strategy is being asked.
    pub(crate) fn begin(&self) {
        self.progress.lock().begun = Some(Instant::now());
    }

    /// It answered. Gives back how long it took.
    pub(crate) fn end(&self, strategy: StrategyName, answer: AttemptOutcome) -> Duration {
        let mut progress = self.progress.lock();
        let took = progress.begun.take().map(|begun| begun.elapsed()).unwrap_or_default();
        progress.attempts.push(Attempt { strategy, took, answer });
        took
    }

    /// Every strategy, those whose turn did not come yet included.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let progress = self.progress.lock();
        let mut attempts = progress.attempts.clone();
        let (mut took, mut answer) = (Duration::ZERO, AttemptOutcome::NotAsked);
        if let Some(begun) = progress.begun {
            (took, answer) = (begun.elapsed(), AttemptOutcome::Interrupted);
        }
        for &strategy in self.order.iter().skip(attempts.len()) {
            attempts.push(Attempt { strategy, took, answer });
            (took, answer) = (Duration::ZERO, AttemptOutcome::NotAsked);
        }
        attempts
    }
}

// === impl AttemptOutcome ===

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(endpoints) => {
                f.write_str("found ")?;
                for (n, endpoint) in endpoints.iter().take(4).enumerate() {
                    f.write_str(if n > 0 { ", " } else { "" })?;
                    f.write_str(&endpoint.address())?;
                }
                match endpoints.len().checked_sub(4) {
                    None | Some(0) => Ok(()),
                    Some(more) => write!(f, " and {more} more"),
                }
            }
            Self::NotFound { reason, .. } => write!(f, "not found: {reason}"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Failed(error) => write!(f, "could not ask: {error}"),
            Self::Interrupted => f.write_str("interrupted: the time for all strategies was over"),
            Self::NotAsked => f.write_str("not asked"),
        }
    }
}

// === impl Attempt ===

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:>8}  {}", self.strategy, format_rounded(self.took), self.answer)
    }
}
