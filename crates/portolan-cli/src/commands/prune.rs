//! `portolan prune`: ends what a killed `run` or `up` has left behind.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portolan_core::{Scope, parse_duration};
use portolan_supervisor::leftovers::{self, Ended, Leftover, OwnerKind, OwnerRecord};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

pub(crate) const AFTER_HELP: &str = "\
A process is ended only if it has in its environment the random name of a `run` or `up` of this user that has ended \
without ending it, and started after that, or descends from such a process. A process id alone is never enough.

Exit status: 0 nothing is left, 1 something is left.";

/// Options of `portolan prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Show what would be ended, and end nothing
    #[arg(long)]
    dry_run: bool,
    /// Time between SIGTERM and SIGKILL
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "4s")]
    grace: Duration,
}

/// One process, as it is printed.
#[derive(Serialize)]
struct Row<'a> {
    pid: u32,
    command: &'a str,
    owner: OwnerKind,
    owner_pid: u32,
    scope: &'a Scope,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Running,
    Ended,
    Killed,
    /// It has started this command.
    RunsThisCommand,
}

impl Prune {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let directory = directory(context)?;
        let failed = |error| Failure::failed(format_args!("cannot read the records: {error}"));
        let ended: Vec<(State, Leftover)> = match self.dry_run {
            true => {
                let found = leftovers::find(&directory).map_err(failed)?.processes;
                found.into_iter().map(|process| (state_of(&process), process)).collect()
            }
            false => {
                let ended = leftovers::end(&directory, self.grace).await.map_err(failed)?;
                ended.into_iter().map(|it| (state_after(&it), it.process)).collect()
            }
        };
        print(context, &ended)?;
        let is_left =
            |(state, _): &(State, Leftover)| ![State::Ended, State::Killed].contains(state);
        match ended.iter().any(is_left) && !self.dry_run {
            true => Err(Failure::failed("some processes are left")
                .remedy("run `portolan prune` as their user, and from another shell")),
            false => Ok(Exit::Done),
        }
    }
}

fn state_of(process: &Leftover) -> State {
    if process.runs_this_command { State::RunsThisCommand } else { State::Running }
}

fn state_after(ended: &Ended) -> State {
    match (ended.has_ended, ended.was_killed) {
        (true, false) => State::Ended,
        (true, true) => State::Killed,
        (false, _) => state_of(&ended.process),
    }
}

fn print(context: &Context, processes: &[(State, Leftover)]) -> Result<(), Failure> {
    if context.json {
        let rows: Vec<Row<'_>> = processes.iter().map(Row::of).collect();
        return output::json(&serde_json::json!({ "processes": rows }));
    }
    if processes.is_empty() {
        if !context.quiet {
            output::note("nothing was left behind");
        }
        return Ok(());
    }
    let mut table = output::table(["PID", "COMMAND", "STARTED BY", "SCOPE", "STATE"]);
    for Row { pid, command, owner, owner_pid, scope, state } in processes.iter().map(Row::of) {
        let command: String = command.chars().take(60).collect();
        let owner = format!("{} {owner_pid}", name(owner));
        table.add_row([pid.to_string(), command, owner, scope.to_string(), text(state)]);
    }
    output::line(table.trim_fmt())
}

// === impl Row ===

impl<'a> Row<'a> {
    fn of((state, process): &'a (State, Leftover)) -> Self {
        Self {
            pid: process.pid,
            command: &process.command,
            owner: process.owner,
            owner_pid: process.owner_pid,
            scope: &process.scope,
            state: *state,
        }
    }
}

fn name(owner: OwnerKind) -> &'static str {
    match owner {
        OwnerKind::Run => "run",
        OwnerKind::Up => "up",
    }
}

fn text(state: State) -> String {
    match state {
        State::Running => "running",
        State::Ended => "ended",
        State::Killed => "killed",
        State::RunsThisCommand => "left, it runs this command",
    }
    .to_owned()
}

/// Creates the record of this command, by which its programs are found if it is killed.
pub(super) fn record(context: &Context, kind: OwnerKind) -> Result<OwnerRecord, Failure> {
    let directory = directory(context)?;
    if let Ok(found) = leftovers::find(&directory) {
        found.forget_finished();
    }
    OwnerRecord::create(&directory, kind, context.scope.clone()).map_err(|error| {
        let path = directory.display();
        Failure::failed(format_args!("cannot write the record of this command in {path}: {error}"))
    })
}

/// Returns the directory of the reservation table, beside which the records are.
fn directory(context: &Context) -> Result<PathBuf, Failure> {
    let found = context.settings().port_allocator.runtime_directory();
    found.map_err(|error| Failure::from_error(Exit::Failed, &error))
}
