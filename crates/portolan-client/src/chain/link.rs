//! A strategy of a client, with what its settings and its origin make of its answers.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Backoff, Scope};
use tokio::time::{sleep, timeout_at};

use super::LookupKey;
use crate::deadline::Deadline;
use crate::proof::Proof;
use crate::strategy::{Strategy, StrategyError, StrategyKind, StrategyOutcome, StrategyQuery};
use crate::trust::Trust;

/// The wait before the first retry: a registry on this host restarts in about this time, and three
/// retries fit into the registry's timeout.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// The share by which a wait before a retry is shortened at random.
const JITTER: f64 = 0.5;

/// Why a strategy is not asked that anybody could answer.
const OFF: &str = "off, because its answers are not signed and there is a token or a key; name it in discovery.strategies or \
                   with --strategy to use it";
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

// === impl Link ===

impl Link {
    /// Returns why the strategy is not asked in this lookup, if it is not.
    pub(super) fn off(&self, key: &LookupKey) -> Option<&'static str> {
        (self.is_off && key.strategies.is_none()).then_some(OFF)
    }

    /// Asks the strategy, and again after a temporary error, within its own timeout and the deadline of the lookup.
    pub(super) async fn ask(
        &self,
        key: &LookupKey,
        scopes: &[Scope],
        overall: Deadline,
    ) -> StrategyOutcome {
        let deadline = overall.at_most(self.timeout);
        let query = StrategyQuery {
            name: key.name.clone(),
            scopes: scopes.to_vec(),
            all: key.all,
            deadline: deadline.inner(),
        };
        let leases_only = self.leases_only && key.strategies.is_none();
        let retries = if self.kind.retries { key.retries } else { 0 };
        let asked = ask_with_retries(&*self.strategy, &query, retries);
        let outcome = timeout_at(deadline.instant(), asked).await.unwrap_or_else(|_| {
            StrategyOutcome::Failed(StrategyError::timed_out(deadline.limit()))
        });
        self.marked(outcome, leases_only)
    }

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
