//! No acknowledged registration is lost, and nothing else that was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::renewed_before;
use crate::cluster::history::{Change, History};
use crate::cluster::record::{Answer, Call, CallKind};

/// Checks the calls of all instances, each of which has made one call at a time.
pub(in crate::cluster) fn calls(history: &History, calls: &[Call], ttl: Duration) -> Result<()> {
    let mut by_id: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        by_id.entry(&call.id).or_default().push(call);
    }
    for (id, calls) in &mut by_id {
        calls.sort_by_key(|call| call.sent);
        let changes: Vec<_> = history.of(id).collect();
        acknowledged(&changes, calls)?;
        for removal in changes.iter().filter(|change| change.is_removal()) {
            justified(removal, calls, ttl)?;
        }
    }
    Ok(())
}

/// What was acknowledged is in the history, and what was answered by "unknown" was gone.
fn acknowledged(changes: &[&Change], calls: &[&Call]) -> Result<()> {
    for (index, call) in calls.iter().enumerate() {
        let (after, before) = registrations(calls, index);
        let removed = |kind: Option<&str>| {
            changes.iter().any(|change| {
                let is_between = after < change.revision && change.revision < before;
                is_between && change.is_removal() && kind.is_none_or(|kind| kind == change.kind)
            })
        };
        match (call.kind, &call.answer) {
            (CallKind::Register, Answer::Accepted(revision)) => {
                let written = changes
                    .iter()
                    .any(|change| change.revision == *revision && !change.is_removal());
                ensure!(written, "lost: {call:?} is not in the history");
            }
            (CallKind::Deregister, Answer::Accepted(_)) => {
                ensure!(removed(Some("deregistered")), "lost: {call:?} is not in the history");
            }
            (_, Answer::Unknown) => {
                ensure!(removed(None), "{call:?}, and it was registered");
            }
            _ => {}
        }
    }
    Ok(())
}

/// An instance is removed only if its owner has asked for it, or if its lease was not renewed for the TTL.
fn justified(removal: &Change, calls: &[&Call], ttl: Duration) -> Result<()> {
    if removal.kind == "deregistered" {
        let asked = calls.iter().enumerate().any(|(index, call)| {
            let (after, before) = registrations(calls, index);
            // If no answer was received, it may have taken effect at any later time.
            let is_over = !matches!(call.answer, Answer::Accepted(_));
            call.kind == CallKind::Deregister
                && after < removal.revision
                && (is_over || removal.revision < before)
        });
        ensure!(asked, "lost: nobody asked for {removal:?}");
        return Ok(());
    }
    let Some(renewed) = renewed_before(calls, removal) else { return Ok(()) };
    ensure!(
        renewed.sent + ttl <= removal.at,
        "lost: {removal:?}, although its lease was renewed by {renewed:?}"
    );
    Ok(())
}

/// The revisions of the registrations that were acknowledged last before a call, and first after it.
fn registrations(calls: &[&Call], index: usize) -> (u64, u64) {
    let revision = |call: &&Call| match (call.kind, &call.answer) {
        (CallKind::Register, Answer::Accepted(revision)) => Some(*revision),
        _ => None,
    };
    let after = calls[..index].iter().rev().find_map(revision).unwrap_or(0);
    let before = calls[index + 1..].iter().find_map(revision).unwrap_or(u64::MAX);
    (after, before)
}
