//! The check of a process: it has not ended, and no signal has stopped it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use portolan_core::{HealthReport, HealthStatus, open_regular};

use crate::program::ProcessState;
use crate::{Check, CheckInput, CheckKind, LocalProgram, Target};

pub(super) const KIND: CheckKind = CheckKind {
    name: "process",
    forms: &["process", "process:/run/NAME.pid"],
    url_form: None,
    options: &[],
    parse,
};

/// The longest content of a pid file.
const MAX_PID_FILE: u64 = 64;

/// Reads the state of a process.
#[derive(Debug)]
enum Process {
    /// The program of the instance.
    Own,
    /// The process whose id is in a file.
    PidFile(PathBuf),
}

fn parse(input: &mut CheckInput<'_>) -> Result<Arc<dyn Check>, String> {
    Ok(Arc::new(match input.value {
        None => Process::Own,
        Some(file) if Path::new(file).is_absolute() => Process::PidFile(file.into()),
        Some(_) => return Err("the pid file is not an absolute path".to_owned()),
    }))
}

impl Check for Process {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        future::ready(self.report(target)).boxed()
    }
}

impl Process {
    fn report(&self, target: &Target) -> HealthReport {
        match self {
            Self::Own => match &target.program {
                Some(program) => report_of(program),
                None => HealthReport::new(
                    HealthStatus::Unknown,
                    "not checked, because this agent did not start the process; name its pid file, as in process:/run/NAME.pid",
                ),
            },
            Self::PidFile(file) => match read_pid(file) {
                Ok(pid) => report_of(&LocalProgram::new(pid)),
                Err(reason) => HealthReport::new(HealthStatus::Critical, reason),
            },
        }
    }
}

fn report_of(program: &LocalProgram) -> HealthReport {
    let (status, state) = match program.state() {
        ProcessState::Runs => (HealthStatus::Passing, "runs"),
        ProcessState::Stopped => (HealthStatus::Critical, "is stopped by a signal"),
        ProcessState::Ended => (HealthStatus::Critical, "has ended"),
    };
    HealthReport::new(status, format!("process {} {state}", program.pid()))
}

fn read_pid(file: &Path) -> Result<u32, String> {
    let mut text = String::new();
    let read =
        open_regular(file).and_then(|open| open.take(MAX_PID_FILE).read_to_string(&mut text));
    read.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| format!("{} has no process id", file.display()))
}

#[cfg(test)]
mod tests {
    use portolan_core::{Registration, Ttl};
    use rustix::process::Signal;

    use super::*;
    use crate::CheckSpec;
    use crate::program::tests::Running;

    async fn run(text: &str, program: Option<LocalProgram>) -> (HealthStatus, String) {
        let registration =
            Registration::new("api".parse().unwrap(), "127.0.0.1".parse().unwrap(), 1);
        let endpoint = registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
        let target = Target { program, ..Target::new(endpoint) };
        let report = text.parse::<CheckSpec>().unwrap().check().unwrap().check(&target).await;
        (report.status, report.reason)
    }

    #[tokio::test]
    async fn process_passes_while_it_runs_and_is_not_stopped() {
        let process = Running::start("sleep", &["1000"]);
        let pid = process.pid();
        let program = || Some(LocalProgram::new(pid));
        let runs = (HealthStatus::Passing, format!("process {pid} runs"));
        assert_eq!(run("process", program()).await, runs);
        process.signal(pid, Signal::STOP);
        let stopped = (HealthStatus::Critical, format!("process {pid} is stopped by a signal"));
        while run("process", program()).await != stopped {}
        let started = program();
        drop(process);
        let ended = (HealthStatus::Critical, format!("process {pid} has ended"));
        assert_eq!(run("process", started).await, ended);
        let (status, reason) = run("process", None).await;
        assert_eq!(status, HealthStatus::Unknown);
        assert!(reason.contains("name its pid file"), "{reason}");
    }

    #[tokio::test]
    async fn process_of_a_pid_file_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.pid");
        let text = format!("process:{}", file.display());
        let (status, reason) = run(&text, None).await;
        assert_eq!(status, HealthStatus::Critical);
        assert!(reason.starts_with("cannot read "), "{reason}");
        std::fs::write(&file, "none\n").unwrap();
        assert!(run(&text, None).await.1.ends_with("has no process id"));
        std::fs::write(&file, format!("{}\n", std::process::id())).unwrap();
        assert_eq!(run(&text, None).await.0, HealthStatus::Passing);
    }
}
