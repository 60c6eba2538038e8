//! Asks the strategies in order: retries, deadlines, metrics and the log of attempts.

mod link;
mod race;
mod sequence;

use std::time::Duration;

use portolan_core::{Scope, ServiceName};
use portolan_metrics::{Metrics, OperationResult};
use tracing::debug;

use crate::attempt::{AttemptLog, AttemptOutcome};
use crate::deadline::Deadline;
use crate::evidence::{CORROBORATION, Evidence};
use crate::proof::Proof;
use crate::strategy::{Candidate, ChangeFeed, Completeness, StrategyOutcome};
use crate::strategy_name::{StrategyName, UnknownStrategy};
use crate::trust::Trust;

pub(crate) use link::Link;

/// The strategies of a client.
pub(crate) struct Chain {
    links: Vec<Link>,
    scopes: Vec<Scope>,
    metrics: Metrics,
    /// Whether strategies start while earlier ones still run.
    race: bool,
}

/// What the answer of a strategy means for the lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Further strategies are asked.
    Open,
    /// What was found decides.
    Decided,
    /// There is no instance, whatever others say.
    NoInstance,
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
        Self { links, scopes, metrics, race: false }
    }

    /// Sets whether strategies start while earlier ones still run.
    pub(crate) fn racing(self, race: bool) -> Self {
        Self { race, ..self }
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
        let evidence = match self.race {
            true => race::run(self, key, log).await,
            false => sequence::run(self, key, log).await,
        };
        evidence.into_resolution(&self.scopes, log.is_complete())
    }

    /// Adds what a strategy answered, and returns what that means for the lookup.
    fn add(
        &self,
        link: &Link,
        key: &LookupKey,
        outcome: &StrategyOutcome,
        evidence: &mut Evidence,
    ) -> Verdict {
        self.weigh(link, key, outcome, evidence);
        let is_authoritative =
            matches!(outcome, StrategyOutcome::NotFound { authoritative: true, .. });
        if is_authoritative && link.trust == Trust::Authenticated {
            evidence.deny_finally();
            return Verdict::NoInstance;
        }
        if evidence.is_conclusive(key.all) { Verdict::Decided } else { Verdict::Open }
    }

    /// Counts and logs what a strategy answered.
    fn record(
        &self,
        link: &Link,
        key: &LookupKey,
        log: &AttemptLog,
        (took, outcome): (Duration, StrategyOutcome),
    ) {
        let name = StrategyName::from(&link.kind);
        let outcome = AttemptOutcome::from(outcome);
        debug!(service_name = %key.name, strategy = %name, %outcome, "Strategy asked");
        let counted = match &outcome {
            AttemptOutcome::Found(_) => Some(OperationResult::Success),
            AttemptOutcome::Skipped(_) => None,
            _ => Some(OperationResult::Failure),
        };
        if let Some(counted) = counted {
            self.metrics.discovery_request(name.as_str(), counted, took);
        }
        log.end(name, took, outcome);
    }

    /// Asks the strategy that decided the lookup for all instances, if it returned the first of several and a leased one is
    /// not among them.
    async fn complete(
        &self,
        link: &Link,
        key: &LookupKey,
        deadline: Deadline,
        evidence: &mut Evidence,
    ) {
        let one_of_several = link.kind.completeness == Completeness::AllOnRequest;
        if one_of_several && !key.all && evidence.has_unchecked_lease() {
            self.corroborate(link, key, deadline, evidence).await;
        }
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
        let outcome = link.ask(&all, &self.scopes, overall.at_most(CORROBORATION)).await;
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
}

#[cfg(test)]
mod tests;
