//! Runs Compose, for commands that publish ports with a configuration that has the leased ones.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use portolan_core::{Scope, replace_file, shell_word};
use portolan_docker::Engine;
use portolan_docker::compose::{ComposeConfig, ComposeError, ProjectContainer};
use portolan_supervisor::child::exit_code;
use serde_json::json;
use tokio::process::Command;

use super::arguments::Arguments;
use super::leases::{LeaseRequest, Leases};
use super::program::Program;
use super::project::Project;
use crate::commands::docker;
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;
use crate::received_signals::ReceivedSignals;

/// How often Compose is run if another program takes a port between the lease and the start of the container.
const TRIES: usize = 3;

pub(super) async fn run(words: Vec<OsString>, context: &Context) -> CommandResult {
    let arguments = Arguments::parse(words)?;
    let program = Program::find().await?;
    if !arguments.publishes() {
        return replace_by(program, arguments.as_given());
    }
    let config = match program.config(&arguments).await? {
        Ok(text) => ComposeConfig::parse(&text)?,
        Err(status) => return Ok(status),
    };
    let project = Project::of(&arguments, config.project())?;
    let engine = Engine::new(docker::socket(None)?)?;
    check_directory(&project, &engine.project(project.name.as_str()).await?)?;
    let start = Start { context, program, arguments, config, project };
    start.run(engine.socket()).await
}

/// A command that publishes ports.
struct Start<'a> {
    context: &'a Context,
    program: Program,
    arguments: Arguments,
    config: ComposeConfig,
    project: Project,
}

// === impl Start ===

impl Start<'_> {
    async fn run(self, engine: &Path) -> CommandResult {
        let mut signals = ReceivedSignals::start()?;
        let name = &self.project.name;
        let request = LeaseRequest {
            directory: self.project.directory.clone(),
            ports: self.config.published().to_vec(),
        };
        let leased = Leases::lease(self.context, name, engine, &request).await;
        let (mut leases, mut ports) = leased?;
        // The leases last as long as Compose runs, also if this program is killed.
        leases.share_with_children().map_err(Failure::failed)?;
        for _ in 1..TRIES {
            let status = self.compose(&ports, &mut signals).await?;
            if status == 0 {
                return Ok(Exit::Child(status));
            }
            let again = leases.again(&request).await?;
            if again == ports {
                return Ok(Exit::Child(status));
            }
            output::warning("another program has taken a leased port, Compose is run again");
            ports = again;
        }
        Ok(Exit::Child(self.compose(&ports, &mut signals).await?))
    }

    /// Runs Compose with these ports, and returns its exit status.
    async fn compose(&self, ports: &[u16], signals: &mut ReceivedSignals) -> Result<u8, Failure> {
        self.report(ports)?;
        let file =
            ConfigFile::write(self.context, &self.project.name, &self.config.with_ports(ports))?;
        let mut command = self.program.command();
        command
            .stdin(Stdio::inherit())
            .kill_on_drop(false)
            .arg("-f")
            .arg(&file.path)
            .args(["-p", self.project.name.as_str(), "--project-directory"])
            .arg(&self.project.directory)
            .args(&self.arguments.options)
            .args(&self.arguments.command);
        wait(command, signals).await
    }

    fn report(&self, ports: &[u16]) -> Result<(), Failure> {
        let published = || self.config.published().iter().zip(ports);
        if self.context.json {
            let ports = published().map(|(it, port)| {
                json!({ "service": it.service, "target": it.target, "preferred": it.preferred, "port": port })
            });
            let ports: Vec<_> = ports.collect();
            return output::json(&json!({ "project": self.project.name, "ports": ports }));
        }
        let moved = published().filter(|(it, port)| it.preferred != **port && !self.context.quiet);
        for (it, port) in moved {
            output::note(format_args!(
                "port {} of {} is published at {port}, not at {}",
                it.target, it.service, it.preferred
            ));
        }
        Ok(())
    }
}

/// Fails if the containers of the project belong to another directory: Compose would replace them by those of this one.
fn check_directory(project: &Project, containers: &[ProjectContainer]) -> Result<(), Failure> {
    let is_other = |directory: &&Path| {
        // A directory that is gone cannot be started again.
        std::fs::canonicalize(directory).is_ok_and(|it| it != project.directory)
    };
    match containers.iter().filter_map(ProjectContainer::directory).find(is_other) {
        None => Ok(()),
        Some(other) => {
            let name = &project.name;
            Err(Failure::usage(format_args!(
                "the project {name} has containers of another directory, {}",
                shell_word(other)
            ))
            .remedy(format!(
                "give this one another name: `-p {name}-2`, or COMPOSE_PROJECT_NAME in .env"
            )))
        }
    }
}

/// The configuration with the leased ports, for one run of Compose: others of the project may run at the same time. Dropping it removes
/// the file.
struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    fn write(context: &Context, project: &Scope, text: &str) -> Result<Self, Failure> {
        let name = format!("{}{}.json", prefix_of(project), std::process::id());
        let path = directory(context)?.join(name);
        // It has the values of variables, which may be secret.
        replace_file(&path, 0o600, |mut new| new.write_all(text.as_bytes())).map_err(|error| {
            Failure::failed(format_args!("cannot write {}: {error}", shell_word(&path)))
        })?;
        Ok(Self { path })
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}

/// Removes the configurations of runs that were killed. No other run of the project may be active.
pub(super) fn remove_left_over(context: &Context, project: &Scope) {
    let Ok(entries) =
        directory(context).and_then(|it| std::fs::read_dir(it).map_err(Failure::failed))
    else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let run = name.strip_prefix(&prefix_of(project)).and_then(|it| it.strip_suffix(".json"));
        if run.is_some_and(|run| run.parse::<u32>().is_ok()) {
            _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Names of projects have no dot.
fn prefix_of(project: &Scope) -> String {
    format!("compose-{project}.")
}

fn directory(context: &Context) -> Result<PathBuf, Failure> {
    let directory = context.settings().port_allocator.runtime_directory();
    directory.map_err(|error| Failure::from_error(Exit::Failed, &error))
}

/// Waits until the command ends. Signals are passed on, unless the terminal has sent them to both.
async fn wait(mut command: Command, signals: &mut ReceivedSignals) -> Result<u8, Failure> {
    let failed = |error: io::Error| Failure::failed(format_args!("cannot run Compose: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(exit_code(status.map_err(failed)?)),
            received = signals.next() => {
                let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
                if let Some(pid) = pid.filter(|_| !received.by_terminal) {
                    _ = rustix::process::kill_process(pid, received.signal);
                }
            }
        }
    }
}

/// Signals and the exit status are then those of Compose.
fn replace_by(program: Program, arguments: Vec<OsString>) -> CommandResult {
    let mut words = program.words();
    let mut command = std::process::Command::new(words.next().unwrap_or_default());
    crate::context::withheld_variables().for_each(|name| _ = command.env_remove(name));
    command.args(words).args(arguments);
    let never: io::Result<Infallible> = Err(command.exec());
    match never {
        Ok(never) => match never {},
        Err(error) => Err(Failure::failed(format_args!("cannot run Compose: {error}"))),
    }
}

impl From<ComposeError> for Failure {
    fn from(error: ComposeError) -> Self {
        Self::from_error(Exit::Usage, &error)
    }
}
