//! Compares what the clients have recorded with the history of etcd.
//!
//! A removal is recorded when a member of etcd delivers it, so not before it was committed, and a lookup when it is
//! sent, so not after it was answered. Both make the checks below the more lenient the slower the machine is, never
//! stricter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::history::{Change, History};
use super::record::{Answer, Call, CallKind, Fault, Lookup, Seen, Watch};

mod calls;
#[cfg(test)]
mod tests;

pub(super) use calls::calls;

/// For how long after the end of a lease a response may contain the instance.
const SLACK: Duration = Duration::from_secs(1);

/// No change was missed or repeated: what a watcher has seen is the history, and each snapshot is its state.
pub(super) fn watch(history: &History, watch: &Watch) -> Result<()> {
    let name = watch.name.as_deref();
    let mut position = None;
    for seen in &watch.seen {
        let Seen::Snapshot { revision, instances } = seen else {
            let Seen::Change { revision, kind, id } = seen else { unreachable!() };
            let from = position.context("a change before the first snapshot")?;
            let next = history.after(from, name);
            let next = next.with_context(|| format!("{seen:?} is not in the history"))?;
            let is_next = (next.revision, next.kind, &next.id) == (*revision, *kind, id);
            ensure!(is_next, "after {from} comes {next:?}, not {seen:?}");
            position = Some(*revision);
            continue;
        };
        ensure!(position <= Some(*revision), "a snapshot of {revision} after {position:?}");
        let state = history.state_at(*revision, name);
        ensure!(*instances == state, "snapshot of {revision}: {instances:?} instead of {state:?}");
        position = Some(*revision);
    }
    let position = position.context("a watch without a snapshot")?;
    let missed = history.after(position, name);
    ensure!(missed.is_none(), "nothing was received after {position}, and {missed:?} was missed");
    Ok(())
}

/// Lookups were answered: at any moment by some server, and by each server that could be reached.
pub(super) fn answered(lookups: &[Lookup], faults: &[Fault]) -> Result<()> {
    for lookup in lookups {
        let Err(reason) = &lookup.found else { continue };
        ensure!(!lookup.any_server, "no server answered at {:?}: {reason}", lookup.sent);
        let (server, at) = (lookup.server, lookup.sent);
        ensure!(lookup.is_excused_by(faults), "server {server} at {at:?}: {reason}");
    }
    for fault in faults {
        let is_during = |lookup: &Lookup| lookup.any_server && lookup.is_during(fault);
        ensure!(lookups.iter().any(is_during), "no lookup while {}", fault.what);
    }
    Ok(())
}

/// Each server has answered with this state last.
pub(super) fn agree(
    state: &BTreeMap<String, u64>,
    lookups: &[Lookup],
    servers: usize,
) -> Result<()> {
    for server in 0..servers {
        let last = lookups.iter().rev().find(|lookup| lookup.server == server);
        let found = last.and_then(|lookup| lookup.found.as_ref().ok()).context("no answer")?;
        let found: BTreeMap<_, _> = found.iter().cloned().collect();
        ensure!(found == *state, "server {server} answered {found:?} instead of {state:?}");
    }
    Ok(())
}

/// No response contained an instance whose lease had ended, or that was deregistered, more than a second before the
/// moment that the response shows: that of the request, less the age of the view.
///
/// If the server does not say the age, a response during a fault is not checked: the server could not know what the
/// others did.
pub(super) fn fresh(history: &History, lookups: &[Lookup], faults: &[Fault]) -> Result<()> {
    for lookup in lookups {
        let Ok(found) = &lookup.found else { continue };
        if lookup.age.is_none() && faults.iter().any(|fault| lookup.is_during(fault)) {
            continue;
        }
        let shown = lookup.sent.saturating_sub(lookup.age.unwrap_or_default());
        let mut ids = BTreeSet::new();
        for (id, revision) in found {
            ensure!(ids.insert(id), "{id} twice in a response: {lookup:?}");
            let mut later = history.of(id).skip_while(|change| change.revision < *revision);
            let own = later.next().filter(|change| change.revision == *revision);
            ensure!(own.is_some(), "revision {revision} of {id} was never committed");
            let Some(end) = later.find(|change| change.is_removal()) else { continue };
            ensure!(
                shown <= end.at + SLACK,
                "server {} showed {id} at {:?}, and it was gone since {:?} ({})",
                lookup.server,
                lookup.sent,
                end.at,
                end.kind
            );
        }
    }
    Ok(())
}

/// The accepted call of an instance that gave it its lease last before a change, and when it was sent.
fn renewed_before<'a>(calls: &[&'a Call], change: &Change) -> Option<&'a Call> {
    let (mut registered, mut last) = (0, None);
    for call in calls {
        match (call.kind, &call.answer) {
            (CallKind::Register, Answer::Accepted(revision)) => registered = *revision,
            (CallKind::Heartbeat, Answer::Accepted(_)) => {}
            _ => continue,
        }
        if registered < change.revision && call.sent < change.at {
            last = Some(*call);
        }
    }
    last
}
