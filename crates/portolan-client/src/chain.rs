//! Asks the strategies in order: retries, deadlines, metrics and the log of attempts.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Backoff, Scope, ServiceName};
use portolan_metrics::{Metrics, OperationResult};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::attempt::{AttemptLog, AttemptOutcome};
use crate::deadline::Deadline;
use crate::evidence::{CORROBORATION, Evidence};
use crate::proof::Proof;
use crate::strategy::{
    Candidate, ChangeFeed, Completeness, Strategy, StrategyError, StrategyKind, StrategyOutcome,
    StrategyQuery,
};
use crate::strategy_name::{StrategyName, UnknownStrategy};
use crate::trust::Trust;

/// The wait before the first retry: a registry on this host restarts in about this time, and three
/// retries fit into the registry's timeout.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// The share by which a wait before a retry is shortened at random.
const JITTER: f64 = 0.5;

/// Why a strategy is not asked that anybody could answer.
const OFF: &str = "off, because its answers are not signed and there is a token or a key; name it in discovery.strategies or \
                   with --strategy to use it";
/// Why the strategies after a negative answer are not asked.
const FINAL: &str = "not asked, because the authenticated registry knows no instance";

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
    /// Who could have made its answers.
    pub(crate) trust: Trust,
    /// Whether it is not asked unless the caller names it, because anybody could answer.
    pub(crate) is_off: bool,
    /// Whether a well-known port without a lease does not count unless the caller names the strategy.
    pub(crate) leases_only: bool,
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
    /// The strategies that found candidates, by proof; never empty.
    pub(crate) sources: Vec<(Proof, StrategyName)>,
    /// The feed that keeps the resolution current.
    pub(crate) feed: ChangeFeed,
    pub(crate) candidates: Vec<Candidate>,
    /// Whether the candidates are all instances of the service.
    pub(crate) complete: bool,
}

// === impl Resolution ===

impl Resolution {
    /// Returns the strategy that found the candidate.
    pub(crate) fn strategy_of(&self, candidate: &Candidate) -> StrategyName {
        let found = self.sources.iter().find(|(proof, _)| *proof == candidate.proof);
        found.unwrap_or(&self.sources[0]).1
    }
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

    /// Returns the strategies of a lookup in order.
    pub(crate) fn order(&self, key: &LookupKey) -> Vec<StrategyName> {
        let name = |link: &Link| StrategyName::from(&link.kind);
        if let Some(names) = &key.strategies {
            return names.iter().filter_map(|name| self.link(*name)).map(name).collect();
        }
        self.links.iter().filter(|link| link.is_default).map(name).collect()
    }

    /// Asks the strategies until what they found is conclusive. The log holds every attempt.
    pub(crate) async fn run(&self, key: &LookupKey, log: &AttemptLog) -> Option<Resolution> {
        let deadline = Deadline::after(key.overall).inner();
        let mut evidence = Evidence::default();
        let mut found_at = None;
        for &name in log.order() {
            let link = self.link(name)?;
            let spent = found_at.map(|at: Instant| at.elapsed()).unwrap_or_default();
            let limit = evidence.limit(key.all, spent);
            if deadline.is_over() || limit.is_some_and(|limit| limit.is_zero()) {
                break;
            }
            if link.is_off && key.strategies.is_none() {
                log.skip(name, OFF);
                continue;
            }
            log.begin(name);
            let deadline = limit.map_or(deadline, |limit| deadline.at_most(limit));
            let outcome = self.ask(link, key, deadline).await;
            self.weigh(link, key, &outcome, &mut evidence);
            let is_final = link.trust == Trust::Authenticated
                && matches!(outcome, StrategyOutcome::NotFound { authoritative: true, .. });
            let outcome = AttemptOutcome::from(outcome);
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
            if is_final {
                evidence.deny_finally();
                log.skip_rest(FINAL);
                break;
            }
            if evidence.is_conclusive(key.all) {
                let one_of_several = link.kind.completeness == Completeness::AllOnRequest;
                if one_of_several && !key.all && evidence.has_unchecked_lease() {
                    self.corroborate(link, key, deadline, &mut evidence).await;
                }
                break;
            }
            found_at = found_at.or_else(|| evidence.has_instance().then(Instant::now));
        }
        evidence.into_resolution(&self.scopes, log.is_complete())
    }

    /// Asks a strategy that returned the first of several instances for all of them: the leased one is not
    /// among what it returned, and may be critical.
    async fn corroborate(
        &self,
        link: &Link,
        key: &LookupKey,
        overall: Deadline,
        evidence: &mut Evidence,
    ) {
        let all = LookupKey { all: true, ..key.clone() };
        let outcome = self.ask(link, &all, overall.at_most(CORROBORATION)).await;
        self.weigh(link, key, &outcome, evidence);
    }

    fn weigh(
        &self,
        link: &Link,
        key: &LookupKey,
        outcome: &StrategyOutcome,
        evidence: &mut Evidence,
    ) {
        match outcome {
            StrategyOutcome::Found(candidates) => {
                let complete = match link.kind.completeness {
                    Completeness::One => false,
                    Completeness::AllOnRequest => key.all,
                    Completeness::All => true,
                };
                evidence.add(&link.kind, candidates, complete);
            }
            StrategyOutcome::NotFound { authoritative, .. } => evidence.deny(*authoritative),
            StrategyOutcome::NotReady { scope, .. } => evidence.not_ready(scope),
            StrategyOutcome::Failed(error) => evidence.fail(error),
            StrategyOutcome::Skipped(_) => {}
        }
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
        let leases_only = link.leases_only && key.strategies.is_none();
        let retries = if link.kind.retries { key.retries } else { 0 };
        let asked = ask_with_retries(&*link.strategy, &query, retries);
        let outcome = timeout_at(deadline.instant(), asked).await.unwrap_or_else(|_| {
            StrategyOutcome::Failed(StrategyError::timed_out(deadline.limit()))
        });
        link.marked(outcome, leases_only)
    }
}

// === impl Link ===

impl Link {
    /// Marks what the strategy found with its trust, and leaves out what does not count.
    fn marked(&self, outcome: StrategyOutcome, leases_only: bool) -> StrategyOutcome {
        let StrategyOutcome::Found(mut candidates) = outcome else { return outcome };
        for candidate in &mut candidates {
            candidate.trust = match candidate.proof {
                // Any user of this host can listen there.
                Proof::WellKnownPort => Trust::Unsigned,
                _ => self.trust,
            };
        }
        let found = candidates.first().map(|candidate| candidate.endpoint.address());
        candidates.retain(|candidate| !leases_only || candidate.proof != Proof::WellKnownPort);
        match (candidates.is_empty(), found) {
            (true, Some(address)) => {
                StrategyOutcome::Skipped(format!("a server at {address} has no lease; {OFF}"))
            }
            _ => StrategyOutcome::Found(candidates),
        }
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

#[cfg(test)]
mod tests;
