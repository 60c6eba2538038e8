//! Asks the strategies one after the other: retries, time limits, metrics and the record of it all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use portolan_core::ServiceName;
use portolan_metrics::{Metrics, Outcome as Counted};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::attempt::{Answer, Record};
use crate::parts::Parts;
use crate::strategy::{Candidate, Knows, Outcome, Question, Strategy, StrategyError, StrategyName};
use crate::{DiscoveryConfig, InvalidDiscovery};

/// The wait before the first retry: a registry that is being restarted on this host needs about
/// this long, and three retries stay within the second that a lookup has.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// The part of the whole time that is left for telling what came of it: who set a limit learns what
/// was asked within it, and not only that it is over.
const FOR_TELLING: u32 = 20;

/// The strategies, ready to be asked.
pub(crate) struct Chain {
    config: Arc<DiscoveryConfig>,
    strategies: HashMap<StrategyName, Arc<dyn Strategy>>,
    scopes: Vec<portolan_core::Scope>,
    metrics: Metrics,
}

/// What one discovery asks for; those that ask for the same at the same time share one answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    /// The service.
    pub(crate) name: ServiceName,
    /// Whether every instance is wanted.
    pub(crate) all: bool,
    /// How often to ask again.
    pub(crate) retries: u32,
    /// How long all of it may take.
    pub(crate) overall: Duration,
    /// Whom to ask, in this order; as configured where it is none.
    pub(crate) strategies: Option<Vec<StrategyName>>,
}

/// What was found, and by whom.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) strategy: StrategyName,
    pub(crate) candidates: Vec<Candidate>,
    /// Whether these are all instances that there are.
    pub(crate) complete: bool,
}

// === impl Chain ===

impl Chain {
    pub(crate) fn new(parts: &Parts, metrics: Metrics) -> Result<Self, InvalidDiscovery> {
        let built = StrategyName::all().map(|name| Ok((name, (name.kind().build)(parts)?)));
        Ok(Self {
            config: Arc::clone(&parts.config),
            strategies: built.collect::<Result<_, _>>()?,
            scopes: parts.scopes.clone(),
            metrics,
        })
    }

    /// The strategies that will be asked, in order. Where every instance is wanted, those that can
    /// know of one only are asked last: what they find is not all there is.
    pub(crate) fn order(&self, wanted: &Wanted) -> Vec<StrategyName> {
        let mut order = wanted.strategies.clone().unwrap_or_else(|| self.config.strategies.clone());
        if wanted.all {
            order.sort_by_key(|strategy| strategy.kind().knows == Knows::One);
        }
        order
    }

    /// Asks until somebody finds something. What was tried stands in the record.
    pub(crate) async fn run(&self, wanted: &Wanted, record: &Record) -> Option<Found> {
        let end = Instant::now() + wanted.overall - wanted.overall / FOR_TELLING;
        for &strategy in record.order() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            record.begin();
            let outcome = self.ask(strategy, wanted, left).await;
            let (answer, found) = told(outcome);
            debug!(service_name = %wanted.name, %strategy, %answer, "strategy answered");
            let counted = match &answer {
                Answer::Found(_) => Some(Counted::Success),
                Answer::Skipped(_) => None,
                _ => Some(Counted::Failure),
            };
            let took = record.end(strategy, answer);
            if let Some(counted) = counted {
                self.metrics.discovery_request(strategy.as_str(), counted, took);
            }
            if let Some(candidates) = found {
                let complete = wanted.all || strategy.kind().knows == Knows::All;
                return Some(Found { strategy, candidates, complete });
            }
        }
        None
    }

    /// Asks one strategy, again where that may help, within its own time limit and what is left
    /// of the whole.
    async fn ask(&self, name: StrategyName, wanted: &Wanted, left: Duration) -> Outcome {
        let kind = name.kind();
        let limit = (kind.timeout)(&self.config.timeouts).min(left);
        let Some(strategy) = self.strategies.get(&name) else {
            return Outcome::Skip(String::new());
        };
        let question = Question {
            name: wanted.name.clone(),
            scopes: self.scopes.clone(),
            all: wanted.all,
            limit,
        };
        let times = if kind.retries { wanted.retries as usize } else { 0 };
        let once = || async {
            match strategy.ask(&question).await {
                Outcome::Failed(error) => Err(error),
                outcome => Ok(outcome),
            }
        };
        let waits = ExponentialBuilder::new()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(limit)
            .with_max_times(times)
            .with_jitter();
        // In the second half of the time there is not enough left for another answer.
        let started = Instant::now();
        let may_help =
            |error: &StrategyError| error.is_temporary() && started.elapsed() < limit / 2;
        let asked = once.retry(waits).when(may_help);
        match timeout(limit, asked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(StrategyError::TimedOut { limit }),
        }
    }
}

fn told(outcome: Outcome) -> (Answer, Option<Vec<Candidate>>) {
    match outcome {
        Outcome::Found(candidates) => {
            let endpoints = candidates.iter().map(|c| Arc::clone(&c.endpoint)).collect();
            (Answer::Found(endpoints), Some(candidates))
        }
        Outcome::NotFound { reason, sure } => (Answer::NotFound { reason, sure }, None),
        Outcome::Skip(reason) => (Answer::Skipped(reason), None),
        Outcome::Failed(error) => (Answer::Failed(Arc::new(error)), None),
    }
}

#[cfg(test)]
mod tests;
