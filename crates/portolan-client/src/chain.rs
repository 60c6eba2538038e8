//! Asks the strategies in order: retries, deadlines, metrics and the log of attempts.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Backoff, Scope, ServiceName};
use portolan_metrics::{Metrics, OperationResult};
use tokio::time::{sleep, timeout_at};
use tracing::debug;

use crate::attempt::{AttemptLog, AttemptOutcome};
use crate::deadline::Deadline;
use crate::strategy::{
    Candidate, ChangeFeed, Completeness, Strategy, StrategyError, StrategyKind, StrategyOutcome,
    StrategyQuery,
};
use crate::strategy_name::{StrategyName, UnknownStrategy};

/// The wait before the first retry: a registry on this host restarts in about this time, and three
/// retries fit into the registry's timeout.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// The share by which a wait before a retry is shortened at random.
const JITTER: f64 = 0.5;

/// The strategies of a client.
pub(crate) struct Chain {
    links: Vec<Link>,
    scopes: Vec<Scope>,
    metrics: Metrics,
}

/// A strategy of a client.
pub(crate) struct Link {
    pub(crate) strategy: Arc<dyn Strategy>,
    pub(crate) kind: StrategyKind,
    /// How long one lookup may take, retries included.
    pub(crate) timeout: Duration,
    /// Whether the strategy is asked unless the caller names others.
    pub(crate) is_default: bool,
}

/// What a lookup asks for. Concurrent lookups with equal keys share one result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LookupKey {
    pub(crate) name: ServiceName,
    /// Whether every instance is requested.
    pub(crate) all: bool,
    /// How often a strategy is asked again.
    pub(crate) retries: u32,
    /// How long the whole lookup may take.
    pub(crate) overall: Duration,
    /// The strategies in order; `None` for the configured ones.
    pub(crate) strategies: Option<Vec<StrategyName>>,
}

/// What a lookup found.
#[derive(Debug, Clone)]
pub(crate) struct Resolution {
    pub(crate) strategy: StrategyName,
    /// The feed that keeps the resolution current.
    pub(crate) feed: ChangeFeed,
    pub(crate) candidates: Vec<Candidate>,
    /// Whether the candidates are all instances of the service.
    pub(crate) complete: bool,
}

// === impl Chain ===

impl Chain {
    /// Builds the chain of these strategies, in order.
    pub(crate) fn new(links: Vec<Link>, scopes: Vec<Scope>, metrics: Metrics) -> Self {
        for link in &links {
            metrics.preset_strategy(link.kind.name);
        }
        Self { links, scopes, metrics }
    }

    /// Returns the scopes in which names are looked up, in order.
    pub(crate) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Finds a strategy of this client by its name.
    pub(crate) fn strategy_name(&self, given: &str) -> Result<StrategyName, UnknownStrategy> {
        StrategyName::find(given, self.links.iter().map(|link| StrategyName::from(&link.kind)))
    }

    /// Returns the strategies of a lookup in order. If every instance is requested, strategies that
    /// know at most one come last, because their result is not complete.
    pub(crate) fn order(&self, key: &LookupKey) -> Vec<StrategyName> {
        let mut links: Vec<&Link> = match &key.strategies {
            Some(names) => names.iter().filter_map(|name| self.link(*name)).collect(),
            None => self.links.iter().filter(|link| link.is_default).collect(),
        };
        if key.all {
            links.sort_by_key(|link| link.kind.completeness == Completeness::One);
        }
        links.into_iter().map(|link| StrategyName::from(&link.kind)).collect()
    }

    /// Asks the strategies until one finds an instance. The log holds every attempt.
    pub(crate) async fn run(&self, key: &LookupKey, log: &AttemptLog) -> Option<Resolution> {
        let deadline = Deadline::after(key.overall).inner();
        for &name in log.order() {
            let link = self.link(name)?;
            if deadline.is_over() {
                return None;
            }
            log.begin();
            let (outcome, candidates) = split(self.ask(link, key, deadline).await);
            debug!(service_name = %key.name, strategy = %name, %outcome, "Strategy asked");
            let counted = match &outcome {
                AttemptOutcome::Found(_) => Some(OperationResult::Success),
                AttemptOutcome::Skipped(_) => None,
                _ => Some(OperationResult::Failure),
            };
            let took = log.end(name, outcome);
            if let Some(counted) = counted {
                self.metrics.discovery_request(name.as_str(), counted, took);
            }
            if let Some(candidates) = candidates {
                let complete = key.all || link.kind.completeness == Completeness::All;
                let feed = link.kind.feed;
                return Some(Resolution { strategy: name, feed, candidates, complete });
            }
        }
        None
    }

    fn link(&self, name: StrategyName) -> Option<&Link> {
        self.links.iter().find(|link| link.kind.name == name.as_str())
    }

    /// Asks one strategy, and again after a temporary error, within its own timeout and the
    /// deadline of the lookup.
    async fn ask(&self, link: &Link, key: &LookupKey, overall: Deadline) -> StrategyOutcome {
        let deadline = overall.at_most(link.timeout);
        let query = StrategyQuery {
            name: key.name.clone(),
            scopes: self.scopes.clone(),
            all: key.all,
            deadline: deadline.inner(),
        };
        let retries = if link.kind.retries { key.retries } else { 0 };
        let asked = ask_with_retries(&*link.strategy, &query, retries);
        timeout_at(deadline.instant(), asked)
            .await
            .unwrap_or_else(|_| StrategyOutcome::Failed(StrategyError::timed_out(deadline.limit())))
    }
}

async fn ask_with_retries(
    strategy: &dyn Strategy,
    query: &StrategyQuery,
    mut retries: u32,
) -> StrategyOutcome {
    let mut backoff = Backoff::new(FIRST_WAIT, query.deadline.limit()).jitter(JITTER);
    loop {
        match strategy.find(query).await {
            // An empty list is not a result; the strategy is not trusted to know that.
            StrategyOutcome::Found(candidates) if candidates.is_empty() => {
                let reason = "the strategy returned an empty list".to_owned();
                return StrategyOutcome::NotFound { reason, authoritative: false };
            }
            StrategyOutcome::Failed(error)
                if error.is_temporary() && retries > 0 && !query.deadline.is_half_over() =>
            {
                retries -= 1;
                sleep(backoff.next_wait()).await;
            }
            outcome => return outcome,
        }
    }
}

fn split(outcome: StrategyOutcome) -> (AttemptOutcome, Option<Vec<Candidate>>) {
    match outcome {
        StrategyOutcome::Found(candidates) => {
            let endpoints = candidates.iter().map(|c| Arc::clone(&c.endpoint)).collect();
            (AttemptOutcome::Found(endpoints), Some(candidates))
        }
        StrategyOutcome::NotFound { reason, authoritative } => {
            (AttemptOutcome::NotFound { reason, authoritative }, None)
        }
        StrategyOutcome::Skipped(reason) => (AttemptOutcome::Skipped(reason), None),
        StrategyOutcome::Failed(error) => (AttemptOutcome::Failed(Arc::new(error)), None),
    }
}

#[cfg(test)]
mod tests;
