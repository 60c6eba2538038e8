//! Commits the commands of a batch: those that concern the same instances in order, the others at the same time.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use portolan_core::ServiceId;

use crate::store::decide::Concerned;
use crate::store::owner::Place;
use crate::{Command, CommandOutcome, RegistryError};

/// How many commands of a batch are committed at the same time.
const CONCURRENT: usize = 32;

type Outcome = Result<CommandOutcome, RegistryError>;

/// Commits commands. `independent` returns the number of commands at the beginning that [`independent`] finds.
pub(crate) async fn commit_all<'a>(
    commands: &'a [Command],
    independent: impl Fn(&[Command]) -> usize,
    commit: impl Fn(&'a Command) -> BoxFuture<'a, Outcome>,
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(commands.len());
    while outcomes.len() < commands.len() {
        let rest = &commands[outcomes.len()..];
        let commits: Vec<_> = rest[..independent(rest)].iter().map(&commit).collect();
        outcomes.extend(stream::iter(commits).buffered(CONCURRENT).collect::<Vec<_>>().await);
    }
    outcomes
}

/// The ids of the instances that a command may change or displace.
fn ids(command: &Command, concerned: &Concerned<'_>) -> BTreeSet<ServiceId> {
    let others = concerned.neighbours.iter().map(|other| other.endpoint.id.clone());
    others.chain([command.id()]).collect()
}

/// Returns the number of commands at the beginning that concern different instances and places, one at least.
pub(crate) fn independent<'a>(
    commands: &[Command],
    concerned: impl Fn(&Command) -> Concerned<'a>,
) -> usize {
    let (mut known, mut places) = (BTreeSet::new(), BTreeSet::new());
    let is_new = |command: &&Command| {
        let mut is_new = true;
        for id in ids(command, &concerned(command)) {
            is_new &= known.insert(id);
        }
        let own: BTreeSet<_> = command.places().iter().map(Place::key).collect();
        for place in own {
            is_new &= places.insert(place);
        }
        is_new
    };
    commands.iter().take_while(is_new).count().max(1)
}
