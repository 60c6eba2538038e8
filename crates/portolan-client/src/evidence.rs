//! What the strategies of one lookup have found so far, and whether that decides the lookup.

use std::sync::Arc;
use std::time::Duration;

use portolan_broadcast::interfaces::is_own_address;
use portolan_core::{HealthStatus, Host, Scope, ServiceEndpoint};

use crate::chain::Resolution;
use crate::proof::Proof;
use crate::strategy::{Candidate, ChangeFeed, StrategyError, StrategyKind};
use crate::strategy_name::StrategyName;

/// How long the remaining strategies may take together once an instance is found whose health is not
/// known, or that is critical: agents and registries answer within milliseconds.
pub(crate) const CORROBORATION: Duration = Duration::from_millis(250);
/// How long each remaining strategy may take once an authoritative one found no instance, or once only
/// the well-known port answers: a broadcast query is sent five times within it.
const AFTER_NEGATIVE: Duration = Duration::from_secs(1);

/// The findings of one lookup.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    candidates: Vec<Candidate>,
    /// The strategies that found candidates, by proof.
    sources: Vec<(Proof, StrategyName)>,
    feed: Option<ChangeFeed>,
    /// Instances of which only the well-known port is known.
    unproven: Vec<Candidate>,
    complete: bool,
    /// Whether an authoritative strategy found no instance.
    denied: bool,
    /// Whether a strategy that might know an instance could not be asked.
    failed: bool,
    /// The scope in which the service is known not to be ready.
    not_ready: Option<Scope>,
}

// === impl Evidence ===

impl Evidence {
    /// Adds what a strategy found.
    pub(crate) fn add(&mut self, kind: &StrategyKind, found: &[Candidate], complete: bool) {
        let name = StrategyName::from(kind);
        for candidate in found {
            if !self.sources.contains(&(candidate.proof, name)) {
                self.sources.push((candidate.proof, name));
            }
            match candidate.proof {
                Proof::WellKnownPort => self.unproven.push(candidate.clone()),
                _ => merge(&mut self.candidates, candidate),
            }
        }
        let proven = found.iter().any(|candidate| candidate.proof != Proof::WellKnownPort);
        if proven && self.feed.is_none_or(|feed| feed == ChangeFeed::None) {
            self.feed = Some(kind.feed);
        }
        self.complete |= proven && complete;
    }

    /// Records that a strategy found no instance.
    pub(crate) fn deny(&mut self, authoritative: bool) {
        self.denied |= authoritative;
    }

    /// Records that there is no instance: a port without a lease is none.
    pub(crate) fn deny_finally(&mut self) {
        self.denied = true;
        self.unproven.clear();
    }

    /// Records that the service is known in this scope and cannot be used.
    pub(crate) fn not_ready(&mut self, scope: &Scope) {
        self.not_ready = Some(scope.clone());
    }

    /// Records that a strategy could not be asked.
    pub(crate) fn fail(&mut self, error: &StrategyError) {
        self.failed |= !error.is_optional();
    }

    /// Returns whether the lookup need not ask further strategies.
    pub(crate) fn is_conclusive(&self, all: bool) -> bool {
        if self.not_ready.is_some() {
            return true;
        }
        let decides = |candidate: &Candidate| {
            candidate.proof == Proof::Configured
                || match candidate.endpoint.health {
                    HealthStatus::Passing | HealthStatus::Warning => true,
                    HealthStatus::Critical => false,
                    // A lease says nothing about the health.
                    HealthStatus::Unknown => candidate.proof != Proof::Leased,
                }
        };
        (self.complete || !all) && self.candidates.iter().any(decides)
    }

    /// Returns whether an instance holds a lease on this host, and its health is not known.
    pub(crate) fn has_unchecked_lease(&self) -> bool {
        self.candidates.iter().any(|candidate| {
            candidate.proof == Proof::Leased && candidate.endpoint.health == HealthStatus::Unknown
        })
    }

    /// How long the next strategy may take; `None` without a limit of its own. `spent` is how long the
    /// lookup has taken since the first instance was found.
    pub(crate) fn limit(&self, all: bool, spent: Duration) -> Option<Duration> {
        if self.has_result(all) {
            return Some(CORROBORATION.saturating_sub(spent));
        }
        (self.denied || !self.unproven.is_empty()).then_some(AFTER_NEGATIVE)
    }

    /// Returns whether a result was found that further strategies can only confirm or contradict.
    pub(crate) fn has_result(&self, all: bool) -> bool {
        self.has_instance() && (self.complete || !all)
    }

    /// Returns whether a proven instance was found.
    pub(crate) fn has_instance(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// Returns the result: the instances of the nearest scope. Without a proven instance the well-known port
    /// decides, provided that every strategy was asked and none knows that the service is not ready.
    pub(crate) fn into_resolution(self, scopes: &[Scope], all_asked: bool) -> Option<Resolution> {
        let Self { mut candidates, sources, feed, unproven, complete, failed, not_ready, .. } =
            self;
        let of_stack = |candidate: &Candidate| {
            (candidate.proof == Proof::OfStack).then(|| candidate.endpoint.scope.clone())
        };
        // Also if it is critical: an announcement in the scope of a stack does not come from the stack.
        if let Some(scope) = candidates.iter().find_map(of_stack) {
            candidates.retain(|it| it.proof <= Proof::OfStack || it.endpoint.scope != scope);
        }
        if let Some(scope) = &not_ready {
            candidates.retain(|candidate| is_usable(candidate, scope, scopes));
        }
        let mut candidates = match candidates.is_empty() {
            true if failed || !all_asked || not_ready.is_some() => return None,
            true => unproven,
            false => candidates,
        };
        // A strategy of a program may know other scopes, which come last.
        let distance = |candidate: &Candidate| {
            let is_own = |scope: &Scope| *scope == candidate.endpoint.scope;
            scopes.iter().position(is_own).unwrap_or(scopes.len())
        };
        let nearest = candidates.iter().map(distance).min()?;
        candidates.retain(|candidate| distance(candidate) == nearest);
        let feed = feed.unwrap_or(ChangeFeed::None);
        Some(Resolution { sources, feed, candidates, complete })
    }
}

/// Returns whether an instance can be used although its service is known not to be ready in this scope: it
/// is in a nearer scope, an operator configured it, or it is known to be healthy.
fn is_usable(candidate: &Candidate, not_ready: &Scope, scopes: &[Scope]) -> bool {
    let distance = |of: &Scope| scopes.iter().position(|scope| scope == of);
    let own = distance(&candidate.endpoint.scope).unwrap_or(scopes.len());
    match distance(not_ready).unwrap_or(scopes.len()) {
        declared if own < declared => true,
        _ if candidate.proof == Proof::Configured => true,
        declared => {
            let health = candidate.endpoint.health;
            own == declared && matches!(health, HealthStatus::Passing | HealthStatus::Warning)
        }
    }
}

/// Adds a candidate. Of two with one address the stronger proof stays, with the endpoint and the health
/// of the one whose health is known.
fn merge(candidates: &mut Vec<Candidate>, new: &Candidate) {
    let Some(known) = candidates.iter_mut().find(|known| is_same(&known.endpoint, &new.endpoint))
    else {
        return candidates.push(new.clone());
    };
    if known.proof == Proof::Leased && new.proof > Proof::Leased {
        // The lease gives an address that is reachable here; the others know the rest.
        let endpoint =
            ServiceEndpoint { host: known.endpoint.host.clone(), ..(*new.endpoint).clone() };
        known.endpoint = Arc::new(endpoint);
    } else if known.endpoint.health == HealthStatus::Unknown {
        known.endpoint = Arc::clone(&new.endpoint);
    }
    known.proof = known.proof.min(new.proof);
    known.trust = known.trust.min(new.trust);
}

/// Returns whether both are the same instance: the same port of the same host.
fn is_same(one: &ServiceEndpoint, other: &ServiceEndpoint) -> bool {
    let same_host =
        || one.host == other.host || (is_this_host(&one.host) && is_this_host(&other.host));
    one.port == other.port && one.scope == other.scope && same_host()
}

fn is_this_host(host: &Host) -> bool {
    host.is_loopback() || host.address().is_some_and(is_own_address)
}

#[cfg(test)]
mod tests;
