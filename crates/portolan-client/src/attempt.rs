//! The attempts of a lookup: which strategies were asked, and their outcomes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::duration::format_rounded;
use portolan_core::escaped_line;
use tokio::time::Instant;

use crate::options::ProgressObserver;
use crate::strategy::{Candidate, StrategyError, StrategyOutcome};
use crate::strategy_name::StrategyName;

/// One strategy of a lookup and its outcome.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The strategy.
    pub strategy: StrategyName,
    /// How long the strategy took, retries included.
    pub took: Duration,
    /// The outcome.
    pub outcome: AttemptOutcome,
}

/// The outcome of asking a strategy.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The strategy found these instances.
    Found(Vec<Candidate>),
    /// The strategy found no instance.
    NotFound {
        /// What was looked at.
        reason: String,
        /// Whether the strategy would know of an instance if there were one.
        authoritative: bool,
    },
    /// The strategy knows the service, and none of its instances can be used now.
    NotReady {
        /// The state of the service and its reason.
        reason: String,
        /// What resolves it.
        remedy: String,
    },
    /// There was nothing to ask, for this reason.
    Skipped(String),
    /// Asking failed.
    Failed(Arc<StrategyError>),
    /// The deadline of the lookup passed before the strategy answered.
    Interrupted,
    /// The lookup ended before this strategy.
    NotAsked,
}

/// Records attempts while they are made, so that a caller that stops waiting can report them.
pub(crate) struct AttemptLog {
    order: Vec<StrategyName>,
    progress: Mutex<Progress>,
    observer: Option<ProgressObserver>,
}

#[derive(Default)]
struct Progress {
    attempts: Vec<Attempt>,
    begun: Option<Instant>,
}

// === impl AttemptLog ===

impl AttemptLog {
    /// Creates an empty log of these strategies in this order.
    pub(crate) fn new(order: Vec<StrategyName>) -> Self {
        Self { order, progress: Mutex::default(), observer: None }
    }

    /// Sets the function that learns which strategy is asked.
    pub(crate) fn observed_by(self, observer: Option<ProgressObserver>) -> Self {
        Self { observer, ..self }
    }

    pub(crate) fn order(&self) -> &[StrategyName] {
        &self.order
    }

    /// Records that this strategy, the next one, is being asked.
    pub(crate) fn begin(&self, strategy: StrategyName) {
        if let Some(ProgressObserver(observe)) = &self.observer {
            observe(strategy);
        }
        self.progress.lock().begun = Some(Instant::now());
    }

    /// Records the strategies that are left as not asked, for this reason.
    pub(crate) fn skip_rest(&self, reason: &str) {
        let asked = self.progress.lock().attempts.len();
        self.order.iter().skip(asked).for_each(|&strategy| self.skip(strategy, reason));
    }

    /// Records that this strategy, the next one, is not asked, for this reason.
    pub(crate) fn skip(&self, strategy: StrategyName, reason: &str) {
        let outcome = AttemptOutcome::Skipped(reason.to_owned());
        let took = Duration::ZERO;
        self.progress.lock().attempts.push(Attempt { strategy, took, outcome });
    }

    /// Records the outcome and returns how long the strategy took.
    pub(crate) fn end(&self, strategy: StrategyName, outcome: AttemptOutcome) -> Duration {
        let mut progress = self.progress.lock();
        let took = progress.begun.take().map(|begun| begun.elapsed()).unwrap_or_default();
        progress.attempts.push(Attempt { strategy, took, outcome });
        took
    }

    /// Returns whether every strategy was asked.
    pub(crate) fn is_complete(&self) -> bool {
        self.progress.lock().attempts.len() == self.order.len()
    }

    /// Returns every strategy, including those that are not asked yet.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let progress = self.progress.lock();
        let mut attempts = progress.attempts.clone();
        let (mut took, mut outcome) = (Duration::ZERO, AttemptOutcome::NotAsked);
        if let Some(begun) = progress.begun {
            (took, outcome) = (begun.elapsed(), AttemptOutcome::Interrupted);
        }
        for &strategy in self.order.iter().skip(attempts.len()) {
            attempts.push(Attempt { strategy, took, outcome });
            (took, outcome) = (Duration::ZERO, AttemptOutcome::NotAsked);
        }
        attempts
    }
}

// === impl AttemptOutcome ===

impl From<StrategyOutcome> for AttemptOutcome {
    fn from(outcome: StrategyOutcome) -> Self {
        match outcome {
            StrategyOutcome::Found(candidates) => Self::Found(candidates),
            StrategyOutcome::NotFound { reason, authoritative } => {
                Self::NotFound { reason, authoritative }
            }
            StrategyOutcome::NotReady { reason, remedy, .. } => Self::NotReady { reason, remedy },
            StrategyOutcome::Skipped(reason) => Self::Skipped(reason),
            StrategyOutcome::Failed(error) => Self::Failed(Arc::new(error)),
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(candidates) => {
                f.write_str("found ")?;
                for (n, candidate) in candidates.iter().take(4).enumerate() {
                    f.write_str(if n > 0 { ", " } else { "" })?;
                    f.write_str(&candidate.endpoint.address())?;
                }
                if let Some(more @ 1..) = candidates.len().checked_sub(4) {
                    write!(f, " and {more} more")?;
                }
                match candidates.iter().min_by_key(|candidate| candidate.proof) {
                    Some(Candidate { proof, trust, .. }) => write!(f, " ({proof}, {trust})"),
                    None => Ok(()),
                }
            }
            Self::NotFound { reason, .. } => write!(f, "not found: {reason}"),
            Self::NotReady { reason, .. } => write!(f, "not ready: {reason}"),
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
        // A reason may quote what a peer has sent, and an attempt is one line.
        let outcome = self.outcome.to_string();
        let outcome = escaped_line(&outcome);
        write!(f, "{:<9} {:>8}  {outcome}", self.strategy, format_rounded(self.took))
    }
}
