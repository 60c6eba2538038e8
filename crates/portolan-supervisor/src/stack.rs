//! A stack: several services described in one file, started in dependency order and stopped in
//! reverse.

mod command;
mod entry;
mod env_file;
mod error;
pub mod file;
mod files;
mod grace;
mod instance;
mod named_ports;
mod needs;
mod output;
mod plan;
mod port_spec;
mod restart;
mod selection;
mod start_order;
mod status;
mod surroundings;
mod terminal;
mod validate;
mod vocabulary;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::Protocol;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use command::{InvalidStackCommand, Shell, StackCommand};
pub use env_file::{InvalidEnvFile, parse_env_file, read_env_file};
pub use error::InvalidStack;
pub use file::{Condition, MainPort, Needs, ServiceEntry, StackFile, scope_of_folder};
pub use files::{FileEntry, FilesProblem};
pub use output::OutputLine;
pub use restart::{InvalidPolicy, Restart, RestartPolicy};
pub use selection::UnknownService;
pub use status::{InstanceState, InstanceStatus};
pub use surroundings::{StackClients, StackContext, StackEnd, StopRequest};
pub use terminal::StdinMode;
pub use vocabulary::hint_for;

use crate::child::WindowSize;
use crate::service::{ServiceDeps, ServiceSpec};
use instance::Instance;

/// The default time between the stop signal and SIGKILL. It begins for a service once those that need it have ended, so that
/// each has all of it.
pub const GRACE: Duration = Duration::from_secs(4);

/// How many programs are started at a time for each processor. A start takes processor time, and further ones would only keep the
/// registry and the health checks of those that run already from theirs.
const STARTS: usize = 2;

/// A stack whose instances are planned but not started.
#[derive(Debug)]
pub struct Stack {
    levels: Vec<Vec<Planned>>,
    rows: watch::Sender<Vec<InstanceStatus>>,
    url_schemes: BTreeSet<Protocol>,
    folder: PathBuf,
    abort_on_failure: bool,
    notes: Vec<String>,
    window: watch::Receiver<WindowSize>,
}

#[derive(Debug)]
struct Planned {
    index: usize,
    number: u16,
    spec: ServiceSpec,
    grace: Duration,
    restart: Restart,
    needs: Needs,
    files: Vec<FileEntry>,
}

/// The exit status of the first instance that failed.
type FirstFailure = Arc<Mutex<Option<u8>>>;

// === impl Stack ===

impl Stack {
    /// Plans every instance of the file in dependency order.
    pub fn plan(file: &StackFile, context: &StackContext) -> Result<Self, InvalidStack> {
        file.validate()?;
        let mut rows = Vec::new();
        let (mut levels, mut notes) = (Vec::new(), Vec::new());
        for names in start_order::levels(&file.services)? {
            let mut level = Vec::new();
            for name in names {
                let entry = &file.services[&name];
                if let (_, Some(argument)) = plan::command_of(&name, entry, context)? {
                    notes.push(format!(
                        "{name}: {argument} (`port_argument: false` turns this off)"
                    ));
                }
                for number in 1..=entry.instances {
                    let spec = plan::spec_of(&name, entry, number, context)?;
                    rows.push(InstanceStatus::new(
                        &name,
                        number,
                        plan::wanted_port(&name, entry, &context.pools),
                    ));
                    let (index, needs) = (rows.len() - 1, entry.needs.clone());
                    let grace = entry.grace.unwrap_or_default().duration();
                    let files = entry.files.clone();
                    let restart = entry.restart;
                    level.push(Planned { index, number, spec, grace, restart, needs, files });
                }
            }
            levels.push(level);
        }
        let protocols = file.services.values().filter_map(|entry| entry.protocol.clone());
        let url_schemes = context.url_schemes.iter().cloned().chain(protocols).collect();
        let folder = context.folder.clone();
        let (rows, abort_on_failure) = (watch::Sender::new(rows), false);
        let window = context.window.clone();
        Ok(Self { levels, rows, url_schemes, folder, abort_on_failure, notes, window })
    }

    /// Stops the stack as soon as an instance has failed, if `abort` is true.
    #[must_use]
    pub fn abort_on_failure(self, abort: bool) -> Self {
        Self { abort_on_failure: abort, ..self }
    }

    /// Returns what the plan adds to the file.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the status of every instance. The channel is updated while the stack runs.
    pub fn rows(&self) -> watch::Receiver<Vec<InstanceStatus>> {
        self.rows.subscribe()
    }

    /// Runs the stack until every program has exited or `stop` is cancelled, then stops the
    /// remaining instances in reverse dependency order. Returns their final status.
    pub async fn run(
        self,
        deps: &ServiceDeps,
        clients: &StackClients,
        output: mpsc::Sender<OutputLine>,
        stop: &StopRequest,
    ) -> StackEnd {
        let first_failure = FirstFailure::default();
        let starts = available_parallelism().map_or(1, usize::from).saturating_mul(STARTS);
        let starts = Arc::new(Semaphore::new(starts));
        let mut running: Vec<(CancellationToken, JoinSet<()>)> = Vec::new();
        for level in self.levels {
            let (token, mut tasks) = (CancellationToken::new(), JoinSet::new());
            for planned in level {
                let instance = Instance {
                    index: planned.index,
                    number: planned.number,
                    spec: planned.spec,
                    needs: planned.needs.ready,
                    others: planned.needs.others,
                    url_schemes: self.url_schemes.clone(),
                    deps: deps.clone(),
                    clients: clients.clone(),
                    files: planned.files,
                    window: self.window.clone(),
                    folder: self.folder.clone(),
                    rows: self.rows.clone(),
                    output: output.clone(),
                    stop: token.clone(),
                    force: stop.force.clone(),
                    grace: planned.grace,
                    restart: planned.restart,
                    starts: starts.clone(),
                    first_failure: first_failure.clone(),
                };
                tasks.spawn(instance.run());
            }
            running.push((token, tasks));
        }
        // Only the instances hold senders now, so the channel closes when the last one ends.
        drop(output);
        tokio::select! {
            () = stop.stop.cancelled() => {}
            () = all_exited(self.rows.subscribe()) => {}
            () = one_failed(self.rows.subscribe()), if self.abort_on_failure => {}
        }
        shut_down(running).await;
        let first_failure = first_failure.lock().unwrap_or_default();
        StackEnd { rows: self.rows.borrow().clone(), exit_code: first_failure }
    }
}

/// Stops the levels in reverse order. Each program has its own grace period.
async fn shut_down(mut running: Vec<(CancellationToken, JoinSet<()>)>) {
    while let Some((token, tasks)) = running.pop() {
        token.cancel();
        tasks.join_all().await;
    }
}

async fn all_exited(mut rows: watch::Receiver<Vec<InstanceStatus>>) {
    let ended = |rows: &Vec<InstanceStatus>| rows.iter().all(|row| row.state.is_final());
    // `self.rows` holds the sender until the stack has ended, so an error cannot occur.
    _ = rows.wait_for(ended).await;
}

async fn one_failed(mut rows: watch::Receiver<Vec<InstanceStatus>>) {
    let failed = |rows: &Vec<InstanceStatus>| rows.iter().any(|row| row.state.is_failure());
    _ = rows.wait_for(failed).await;
}

#[cfg(test)]
mod tests;
