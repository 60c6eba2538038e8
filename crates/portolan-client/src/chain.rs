//! Asks the strategies one after the other: retries, time limits, metrics and the record of it all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use portolan_core::ServiceName;
use portolan_metrics::{Metrics, OperationResult};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::attempt::{AttemptLog, AttemptOutcome};
use crate::deps::Deps;
use crate::strategy::{
    Candidate, Completeness, Strategy, StrategyError, StrategyName, StrategyOutcome, StrategyQuery,
};
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
pub(crate) struct LookupKey {
    /// The service.
    pub(crate) name: ServiceName,
    /// Whether every instance is requested.
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
pub(crate) struct Resolution {
    pub(crate) strategy: StrategyName,
    pub(crate) candidates: Vec<Candidate>,
    /// Whether these are all instances that there are.
    pub(crate) complete: bool,
}

// === impl Chain ===

impl Chain {
    pub(crate) fn new(deps: &Deps, metrics: Metrics) -> Result<Self, InvalidDiscovery> {
        let built = StrategyName::all().map(|name| Ok((name, (name.kind().build)(deps)?)));
        Ok(Self {
            config: Arc::clone(&deps.config),
            strategies: built.collect::<Result<_, _>>()?,
            scopes: deps.scopes.clone(),
            metrics,
        })
    }

    /// The strategies that will be asked, in order. Where every instance is requested, those that can
    /// know of one only are asked last: what they find is not all there is.
    pub(crate) fn order(&self, key: &LookupKey) -> Vec<StrategyName> {
        let mut order = key.strategies.clone().unwrap_or_else(|| self.config.strategies.clone());
        if key.all {
            order.sort_by_key(|strategy| strategy.kind().completeness == Completeness::One);
        }
        order
    }

    /// Asks until somebody finds something. What was tried stands in the record.
    pub(crate) async fn run(&self, key: &LookupKey, record: &AttemptLog) -> Option<Resolution> {
        let end = Instant::now() + key.overall - key.overall / FOR_TELLING;
        for &strategy in record.order() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            record.begin();
            let outcome = self.ask(strategy, key, left).await;
            let (answer, found) = told(outcome);
            debug!(service_name = %key.name, %strategy, %answer, "strategy answered");
            let counted = match &answer {
                AttemptOutcome::Found(_) => Some(OperationResult::Success),
                AttemptOutcome::Skipped(_) => None,
                _ => Some(OperationResult::Failure),
            };
            let took = record.end(strategy, answer);
            if let Some(counted) = counted {
                self.metrics.discovery_request(strategy.as_str(), counted, took);
            }
            if let Some(candidates) = found {
                let complete = key.all || strategy.kind().completeness == Completeness::All;
                return Some(Resolution { strategy, candidates, complete });
            }
        }
        None
    }

    /// Asks one strategy, again where that may help, within its own time limit and what is left
    /// of the whole.
    async fn ask(&self, name: StrategyName, key: &LookupKey, left: Duration) -> StrategyOutcome {
        let kind = name.kind();
        let limit = (kind.timeout)(&self.config.timeouts).min(left);
        let Some(strategy) = self.strategies.get(&name) else {
            return StrategyOutcome::Skip(String::new());
        };
        let query = StrategyQuery {
            name: key.name.clone(),
            scopes: self.scopes.clone(),
            all: key.all,
            limit,
        };
        let times = if kind.retries { key.retries as usize } else { 0 };
        let once = || async {
            match strategy.ask(&query).await {
                StrategyOutcome::Failed(error) => Err(error),
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
            Ok(Err(error)) => StrategyOutcome::Failed(error),
            Err(_) => StrategyOutcome::Failed(StrategyError::TimedOut { limit }),
        }
    }
}

fn told(outcome: StrategyOutcome) -> (AttemptOutcome, Option<Vec<Candidate>>) {
    match outcome {
        StrategyOutcome::Found(candidates) => {
            let endpoints = candidates.iter().map(|c| Arc::clone(&c.endpoint)).collect();
            (AttemptOutcome::Found(endpoints), Some(candidates))
        }
        StrategyOutcome::NotFound { reason, sure } => {
            (AttemptOutcome::NotFound { reason, sure }, None)
        }
        StrategyOutcome::Skip(reason) => (AttemptOutcome::Skipped(reason), None),
        StrategyOutcome::Failed(error) => (AttemptOutcome::Failed(Arc::new(error)), None),
    }
}

#[cfg(test)]
mod tests;
