//! The rules by which changes of a service update its cache entry. Pure functions.

use std::sync::Arc;

use portolan_core::{Change, ServiceEndpoint};

use crate::cache::CacheAction;
use crate::chain::Resolution;
use crate::proof::Proof;
use crate::strategy::{Candidate, ChangeFeed};
use crate::trust::Trust;

/// The maximum number of candidates of one entry; beyond it the entry becomes stale.
const MAX_CANDIDATES: usize = 1_000;

/// Returns the position of an endpoint's scope in the lookup order, or `None` outside it.
pub(crate) type Rank<'a> = &'a dyn Fn(&ServiceEndpoint) -> Option<usize>;

/// Applies the change of one instance that a feed reports.
pub(crate) fn after_change(
    resolution: &Resolution,
    change: &Change,
    feed: ChangeFeed,
    rank: Rank<'_>,
) -> CacheAction {
    let Some(endpoint) = change.endpoint() else { return CacheAction::Keep };
    if change.is_removal() {
        return after_removal(resolution, endpoint);
    }
    if feed == ChangeFeed::Announced && resolution.feed == ChangeFeed::Ordered {
        // An announcement lacks the results of the registry's health checks.
        return CacheAction::Keep;
    }
    let is_same =
        |known: &ServiceEndpoint| known.id == endpoint.id && known.scope == endpoint.scope;
    if let Some(at) = resolution.candidates.iter().position(|known| is_same(&known.endpoint)) {
        return with(resolution, |candidates| update(&mut candidates[at], endpoint, feed));
    }
    let Some(known) = resolution.candidates.first() else { return CacheAction::Remove };
    match (rank(endpoint), rank(&known.endpoint)) {
        // An instance of a nearer scope replaces all others.
        (Some(new), Some(old)) if new < old => CacheAction::MarkStale,
        (Some(new), Some(old)) if new == old && resolution.feed != ChangeFeed::None => {
            added(resolution, endpoint)
        }
        _ => CacheAction::Keep,
    }
}

/// Applies a snapshot: all instances of the service in the registry, or those that have registered again
/// since it started.
pub(crate) fn after_snapshot(
    resolution: &Resolution,
    now: &[Arc<ServiceEndpoint>],
    incomplete: bool,
    rank: Rank<'_>,
) -> CacheAction {
    if incomplete {
        return after_incomplete_snapshot(resolution, now, rank);
    }
    let nearest = now.iter().filter_map(|endpoint| rank(endpoint)).min();
    let current = |endpoint: &&Arc<ServiceEndpoint>| rank(endpoint) == nearest;
    if resolution.feed == ChangeFeed::Ordered {
        // A registry that has just started is empty: ask again, and keep the entry as a fallback.
        let Some(_) = nearest else { return CacheAction::MarkStale };
        // The snapshot says nothing about a stronger proof.
        let is_stronger = |known: &&Candidate| known.proof < Proof::Registered;
        let known = |endpoint: &ServiceEndpoint| {
            resolution.candidates.iter().filter(is_stronger).find(|c| c.endpoint.id == endpoint.id)
        };
        let candidate = |endpoint: &Arc<ServiceEndpoint>| {
            let candidate = Candidate::from(Arc::clone(endpoint));
            let proof = known(endpoint).map_or(candidate.proof, |known| known.proof);
            Candidate { proof, trust: trust_of(resolution), ..candidate }
        };
        let candidates: Vec<_> = now.iter().filter(current).map(candidate).collect();
        let is_kept = |known: &Candidate| {
            candidates.iter().any(|candidate| candidate.endpoint.id == known.endpoint.id)
        };
        if !resolution.candidates.iter().filter(is_stronger).all(is_kept) {
            return CacheAction::MarkStale;
        }
        return CacheAction::Replace(Resolution { candidates, ..resolution.clone() });
    }
    with(resolution, |candidates| {
        for candidate in candidates {
            if let Some(endpoint) = now.iter().find(|e| e.id == candidate.endpoint.id) {
                candidate.endpoint = Arc::clone(endpoint);
            }
        }
    })
}

/// Keeps the known instances, in their new state if they are in the snapshot, and adds the new ones of the
/// same scope.
fn after_incomplete_snapshot(
    resolution: &Resolution,
    now: &[Arc<ServiceEndpoint>],
    rank: Rank<'_>,
) -> CacheAction {
    let feed = ChangeFeed::Ordered;
    let mut current = resolution.clone();
    for endpoint in now {
        let change = Change::Registered { endpoint: Arc::clone(endpoint) };
        match after_change(&current, &change, feed, rank) {
            CacheAction::Replace(next) => current = next,
            CacheAction::Keep => {}
            other => return other,
        }
    }
    CacheAction::Replace(current)
}

/// Replaces the endpoint of a candidate. The registry may know better how it learned of the instance.
fn update(candidate: &mut Candidate, endpoint: &Arc<ServiceEndpoint>, feed: ChangeFeed) {
    candidate.endpoint = Arc::clone(endpoint);
    let is_known_to_registry =
        matches!(candidate.proof, Proof::OfStack | Proof::Registered | Proof::Announced);
    if feed == ChangeFeed::Ordered && is_known_to_registry {
        candidate.proof = Proof::of_registry(endpoint.source);
    }
}

/// Removes the instance. Another one at the same address stays: it has displaced this one.
fn after_removal(resolution: &Resolution, gone: &ServiceEndpoint) -> CacheAction {
    let is_gone = |known: &Candidate| known.endpoint.id == gone.id;
    if !resolution.candidates.iter().any(is_gone) {
        return CacheAction::Keep;
    }
    with(resolution, |candidates| candidates.retain(|known| !is_gone(known)))
}

fn added(resolution: &Resolution, endpoint: &Arc<ServiceEndpoint>) -> CacheAction {
    if resolution.candidates.len() >= MAX_CANDIDATES {
        return CacheAction::MarkStale;
    }
    let proof = match resolution.feed {
        ChangeFeed::Announced => Proof::Announced,
        ChangeFeed::None | ChangeFeed::Ordered => Proof::of_registry(endpoint.source),
    };
    let candidate = Candidate { proof, trust: trust_of(resolution), ..Arc::clone(endpoint).into() };
    with(resolution, |candidates| candidates.push(candidate))
}

/// What the feed adds is no more trustworthy than what the strategies have found.
fn trust_of(resolution: &Resolution) -> Trust {
    let trusts = resolution.candidates.iter().map(|candidate| candidate.trust);
    trusts.max().unwrap_or(Trust::Unsigned)
}

fn with(resolution: &Resolution, change: impl FnOnce(&mut Vec<Candidate>)) -> CacheAction {
    let mut resolution = resolution.clone();
    change(&mut resolution.candidates);
    CacheAction::Replace(resolution)
}

#[cfg(test)]
mod tests;
