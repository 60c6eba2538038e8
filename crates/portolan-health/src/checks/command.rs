//! The command check: exit status 0 is passing, 1 a warning, and everything else critical, as in Consul and Nagios.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, HealthStatus};
use portolan_process::{CommandWords, Finished, run_to_end};

use crate::{Check, CheckInput, CheckKind, Target};

/// Without a URL form, so that nobody can let a registry run a command.
pub(super) const KIND: CheckKind = CheckKind {
    name: "command",
    forms: &["command:PROGRAM ARGUMENTS"],
    url_form: None,
    options: &[],
    parse,
};

/// Runs a program in a process group of its own.
#[derive(Debug)]
struct Command(CommandWords);

fn parse(input: &mut CheckInput<'_>) -> Result<Arc<dyn Check>, String> {
    let words = input.value.unwrap_or_default().parse();
    let words: CommandWords =
        words.map_err(|error: portolan_process::InvalidWords| error.to_string())?;
    Ok(Arc::new(Command(words)))
}

impl Check for Command {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        self.run(target).boxed()
    }
}

impl Command {
    async fn run(&self, target: &Target) -> HealthReport {
        match self.execute(target).await {
            Ok(finished) => report(self.0.program(), &finished),
            Err(error) => {
                let reason = format!("cannot run {}: {error}", self.0.program());
                HealthReport::new(HealthStatus::Critical, reason)
            }
        }
    }

    async fn execute(&self, target: &Target) -> io::Result<Finished> {
        let endpoint = &target.endpoint;
        let (host, port) = (endpoint.host.to_string(), endpoint.port.to_string());
        let mut command = self.0.command(&[("{host}", &host), ("{port}", &port)]);
        if let Some(directory) = target.program.as_ref().and_then(|it| it.working_directory()) {
            command.current_dir(directory);
        }
        run_to_end(command).await
    }
}

fn report(program: &str, finished: &Finished) -> HealthReport {
    let status = match finished.status.code() {
        Some(0) => HealthStatus::Passing,
        Some(1) => HealthStatus::Warning,
        _ => HealthStatus::Critical,
    };
    let (exit, line) = (finished.status, finished.first_line());
    let separator = if line.is_empty() { "" } else { ": " };
    HealthReport::new(status, format!("{program}: {exit}{separator}{line}"))
}

#[cfg(test)]
mod tests;
