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
    /// The lookup was decided before the strategy answered, which only happens if strategies race.
    Abandoned,
    /// The lookup ended before this strategy.
    NotAsked,
}

/// Records attempts while they are made, so that a caller that stops waiting can report them.
pub(crate) struct AttemptLog {
    order: Vec<StrategyName>,
    progress: Mutex<Progress>,
    observer: Option<ProgressObserver>,
}

/// How far each strategy of the order is.
type Progress = Vec<Step>;

#[derive(Clone, Default)]
enum Step {
    #[default]
    NotBegun,
    Begun(Instant),
    Ended(Duration, AttemptOutcome),
}

// === impl AttemptLog ===

impl AttemptLog {
    /// Creates an empty log of these strategies in this order.
    pub(crate) fn new(order: Vec<StrategyName>) -> Self {
        let progress = Mutex::new(vec![Step::default(); order.len()]);
        Self { order, progress, observer: None }
    }

    /// Sets the function that learns which strategy is asked.
    pub(crate) fn observed_by(self, observer: Option<ProgressObserver>) -> Self {
        Self { observer, ..self }
    }

    pub(crate) fn order(&self) -> &[StrategyName] {
        &self.order
    }

    /// Records that this strategy is being asked.
    pub(crate) fn begin(&self, strategy: StrategyName) {
        if let Some(ProgressObserver(observe)) = &self.observer {
            observe(strategy);
        }
        self.set(strategy, Step::Begun(Instant::now()));
    }

    /// Records that the strategies without an outcome do not count, for this reason.
    pub(crate) fn skip_rest(&self, reason: &str) {
        for step in self.progress.lock().iter_mut() {
            if !matches!(step, Step::Ended(..)) {
                *step = Step::Ended(step.took(), AttemptOutcome::Skipped(reason.to_owned()));
            }
        }
    }

    /// Records that the strategies that are being asked are not waited for.
    pub(crate) fn abandon_rest(&self) {
        for step in self.progress.lock().iter_mut() {
            if matches!(step, Step::Begun(_)) {
                *step = Step::Ended(step.took(), AttemptOutcome::Abandoned);
            }
        }
    }

    /// Records that this strategy is not asked, for this reason.
    pub(crate) fn skip(&self, strategy: StrategyName, reason: &str) {
        let outcome = AttemptOutcome::Skipped(reason.to_owned());
        self.set(strategy, Step::Ended(Duration::ZERO, outcome));
    }

    /// Returns how long the strategy has been asked.
    pub(crate) fn took(&self, strategy: StrategyName) -> Duration {
        let index = self.order.iter().position(|known| *known == strategy);
        index.map(|index| self.progress.lock()[index].took()).unwrap_or_default()
    }

    /// Records the outcome, and how long the strategy took.
    pub(crate) fn end(&self, strategy: StrategyName, took: Duration, outcome: AttemptOutcome) {
        self.set(strategy, Step::Ended(took, outcome));
    }

    /// Returns whether every strategy was asked.
    pub(crate) fn is_complete(&self) -> bool {
        self.progress.lock().iter().all(|step| matches!(step, Step::Ended(..)))
    }

    /// Returns every strategy, including those that are not asked yet.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let progress = self.progress.lock();
        let outcome = |step: &Step| match step {
            Step::NotBegun => AttemptOutcome::NotAsked,
            Step::Begun(_) => AttemptOutcome::Interrupted,
            Step::Ended(_, outcome) => outcome.clone(),
        };
        let attempt = |(&strategy, step): (&StrategyName, &Step)| Attempt {
            strategy,
            took: step.took(),
            outcome: outcome(step),
        };
        self.order.iter().zip(progress.iter()).map(attempt).collect()
    }

    fn set(&self, strategy: StrategyName, step: Step) {
        let index = self.order.iter().position(|known| *known == strategy);
        if let Some(index) = index {
            self.progress.lock()[index] = step;
        }
    }
}

// === impl Step ===

impl Step {
    /// Returns how long the strategy has taken.
    fn took(&self) -> Duration {
        match self {
            Self::NotBegun => Duration::ZERO,
            Self::Begun(begun) => begun.elapsed(),
            Self::Ended(took, _) => *took,
        }
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
            Self::Abandoned => f.write_str("not waited for: the lookup was decided without it"),
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
