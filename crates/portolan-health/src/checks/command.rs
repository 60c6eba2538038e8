//! The command check: exit status 0 is passing, 1 a warning, and everything else critical, as in Consul and Nagios.

mod group;

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::env::is_secret;
use portolan_core::{HealthReport, HealthStatus};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command as Process;
use tokio::time::timeout;

use crate::{Check, CheckInput, CheckKind, Target};
use group::ProcessGroup;

/// Without a URL form, so that nobody can let a registry run a command.
pub(super) const KIND: CheckKind = CheckKind {
    name: "command",
    forms: &["command:PROGRAM ARGUMENTS"],
    url_form: None,
    options: &[],
    parse,
};

/// The places in a command at which its instance's address stands.
const PLACEHOLDERS: [&str; 2] = ["{host}", "{port}"];
/// How much of the output is kept, in bytes.
const MAX_OUTPUT: usize = 1024;
/// The maximum length of the part of the output that is included in the reason, in characters.
const MAX_REASON: usize = 200;
/// How long the output is read after the program has ended.
const REST: Duration = Duration::from_millis(100);

/// Runs a program in a process group of its own.
#[derive(Debug)]
struct Command {
    program: String,
    arguments: Vec<String>,
}

fn parse(input: &mut CheckInput<'_>) -> Result<Arc<dyn Check>, String> {
    let words = shell_words::split(input.value.unwrap_or_default())
        .map_err(|_| "a quotation mark is not closed".to_owned())?;
    let mut words = words.into_iter();
    let program = words.next().filter(|program| !program.is_empty());
    let Some(program) = program else { return Err("the program is missing".to_owned()) };
    Ok(Arc::new(Command { program, arguments: words.collect() }))
}

impl Check for Command {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        self.run(target).boxed()
    }
}

impl Command {
    async fn run(&self, target: &Target) -> HealthReport {
        match self.execute(target).await {
            Ok((status, output)) => report(&self.program, status, &output),
            Err(error) => {
                let reason = format!("cannot run {}: {error}", self.program);
                HealthReport::new(HealthStatus::Critical, reason)
            }
        }
    }

    /// Runs the program to its end. If this future is dropped, as at the deadline, every process of its group is killed.
    async fn execute(&self, target: &Target) -> io::Result<(ExitStatus, Vec<u8>)> {
        let (read, written) = io::pipe()?;
        let mut output = Receiver::from_owned_fd(read.into())?;
        let mut process = self.process(target);
        process.stdin(Stdio::null()).stdout(written.try_clone()?).stderr(written);
        let mut child = process.spawn()?;
        // It has the other ends of the pipe, so that reading would not end.
        drop(process);
        let group = ProcessGroup::of(&child);
        let mut kept = Vec::new();
        let status = tokio::select! {
            status = child.wait() => status?,
            never = read_all(&mut output, &mut kept) => {
                // The program has closed its output and goes on.
                never?;
                child.wait().await?
            }
        };
        // What it has left running would be one more with each check.
        drop(group);
        _ = timeout(REST, read_all(&mut output, &mut kept)).await;
        Ok((status, kept))
    }

    fn process(&self, target: &Target) -> Process {
        let endpoint = &target.endpoint;
        let values = [endpoint.host.to_string(), endpoint.port.to_string()];
        let filled = |text: &String| {
            let places = PLACEHOLDERS.into_iter().zip(&values);
            places.fold(text.clone(), |text, (place, value)| text.replace(place, value))
        };
        let mut process = Process::new(filled(&self.program));
        process.args(self.arguments.iter().map(filled)).process_group(0);
        for (name, _) in std::env::vars_os() {
            // A check needs no secret of Portolan.
            if name.to_str().is_some_and(is_secret) {
                process.env_remove(name);
            }
        }
        if let Some(directory) = target.program.as_ref().and_then(|it| it.working_directory()) {
            process.current_dir(directory);
        }
        process
    }
}

/// Reads to the end and keeps the beginning, so that a program with much output does not wait.
async fn read_all(output: &mut Receiver, kept: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = output.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let room = MAX_OUTPUT - kept.len();
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}

fn report(program: &str, exit: ExitStatus, output: &[u8]) -> HealthReport {
    let status = match exit.code() {
        Some(0) => HealthStatus::Passing,
        Some(1) => HealthStatus::Warning,
        _ => HealthStatus::Critical,
    };
    let line = first_line(output);
    let separator = if line.is_empty() { "" } else { ": " };
    HealthReport::new(status, format!("{program}: {exit}{separator}{line}"))
}

fn first_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests;
