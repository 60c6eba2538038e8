//! What news of a service means for what is known of it. Pure: decides, and changes nothing.

use std::sync::Arc;

use portolan_core::{Change, ServiceEndpoint};

use crate::cache::CacheAction;
use crate::chain::Resolution;
use crate::strategies::{broadcast, registry};
use crate::strategy::Candidate;

/// How many instances news may add to one service; with more it is asked for again.
const MAX_CANDIDATES: usize = 1_000;

/// How near a scope is: 0 is the own one; none where it is not looked in.
pub(crate) type Rank<'a> = &'a dyn Fn(&ServiceEndpoint) -> Option<usize>;

/// One instance of the service changed, as the registry says or the broadcast channel.
pub(crate) fn after_change(
    found: &Resolution,
    change: &Change,
    from_registry: bool,
    rank: Rank<'_>,
) -> CacheAction {
    let Some(endpoint) = change.endpoint() else { return CacheAction::Keep };
    if change.is_removal() {
        return after_removal(found, endpoint);
    }
    if !from_registry && found.strategy.as_str() == registry::KIND.name {
        // The registry knows of checks that an instance does not announce.
        return CacheAction::Keep;
    }
    let is_same =
        |known: &ServiceEndpoint| known.id == endpoint.id && known.scope == endpoint.scope;
    if let Some(at) = found.candidates.iter().position(|known| is_same(&known.endpoint)) {
        return with(found, |candidates| candidates[at].endpoint = Arc::clone(endpoint));
    }
    let Some(known) = found.candidates.first() else { return CacheAction::Remove };
    match (rank(endpoint), rank(&known.endpoint)) {
        // One of a nearer scope takes the place of all others.
        (Some(new), Some(old)) if new < old => CacheAction::Stale,
        (Some(new), Some(old)) if new == old && is_told_of_all(found) => added(found, endpoint),
        _ => CacheAction::Keep,
    }
}

/// This is all that the registry knows of the service.
pub(crate) fn after_snapshot(
    found: &Resolution,
    now: &[Arc<ServiceEndpoint>],
    rank: Rank<'_>,
) -> CacheAction {
    let nearest = now.iter().filter_map(|endpoint| rank(endpoint)).min();
    let current = |endpoint: &&Arc<ServiceEndpoint>| rank(endpoint) == nearest;
    if found.strategy.as_str() == registry::KIND.name {
        // A registry that has just started knows nothing yet: time to ask everybody, and to keep
        // what was known in case nobody can be asked.
        let Some(_) = nearest else { return CacheAction::Stale };
        let candidates = now.iter().filter(current).map(Candidate::of).collect();
        return CacheAction::Change(Resolution { candidates, ..found.clone() });
    }
    with(found, |candidates| {
        for candidate in candidates {
            if let Some(endpoint) = now.iter().find(|e| e.id == candidate.endpoint.id) {
                candidate.endpoint = Arc::clone(endpoint);
            }
        }
    })
}

/// The instance is gone, or another that has the same address: two cannot have it at once.
fn after_removal(found: &Resolution, gone: &ServiceEndpoint) -> CacheAction {
    let is_gone = |known: &ServiceEndpoint| {
        known.id == gone.id
            || (known.scope == gone.scope && known.host == gone.host && known.port == gone.port)
    };
    match found.candidates.iter().any(|known| is_gone(&known.endpoint)) {
        true => with(found, |candidates| candidates.retain(|known| !is_gone(&known.endpoint))),
        false => CacheAction::Keep,
    }
}

fn added(found: &Resolution, endpoint: &Arc<ServiceEndpoint>) -> CacheAction {
    match found.candidates.len() < MAX_CANDIDATES {
        true => with(found, |candidates| candidates.push(Candidate::of(endpoint))),
        false => CacheAction::Stale,
    }
}

/// Whether news tell of every instance that this strategy could find.
fn is_told_of_all(found: &Resolution) -> bool {
    [registry::KIND.name, broadcast::KIND.name].contains(&found.strategy.as_str())
}

fn with(found: &Resolution, change: impl FnOnce(&mut Vec<Candidate>)) -> CacheAction {
    let mut found = found.clone();
    change(&mut found.candidates);
    CacheAction::Change(found)
}

#[cfg(test)]
mod tests;
