//! The program of Compose: the plugin `docker compose`, else `docker-compose`.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::arguments::Arguments;
use crate::context::withheld_variables;
use crate::exit::{Exit, Failure};

/// How long a request for the version may take. v1 is written in Python.
const VERSION: Duration = Duration::from_secs(20);
/// How long it may take to read the files.
const CONFIG: Duration = Duration::from_secs(60);
/// The largest output that is read, in bytes.
const MAX_OUTPUT: u64 = 16 << 20;

/// An installed Compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    words: &'static [&'static str],
    is_v1: bool,
}

// === impl Program ===

impl Program {
    /// Finds the program.
    pub(super) async fn find() -> Result<Self, Failure> {
        for words in [&["docker", "compose"][..], &["docker-compose"]] {
            let program = Self { words, is_v1: false };
            let mut command = program.command();
            command.args(["version", "--short"]).stderr(Stdio::null());
            if let Ok((0, version)) = output(&mut command, VERSION).await {
                let is_v1 = version.trim().trim_start_matches('v').starts_with("1.");
                return Ok(Self { words, is_v1 });
            }
        }
        Err(Failure::usage("neither `docker compose` nor docker-compose is installed")
            .remedy("install the package docker-compose, or Docker's plugin of that name"))
    }

    pub(super) fn command(self) -> Command {
        let mut command = Command::new(self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null()).kill_on_drop(true);
        withheld_variables().for_each(|name| _ = command.env_remove(name));
        command
    }

    /// Returns the resolved configuration with the services of every profile; or the exit status of Compose, which has said why.
    pub(super) async fn config(
        self,
        arguments: &Arguments,
    ) -> Result<Result<String, Exit>, Failure> {
        let mut command = self.command();
        command.args(arguments.before_command());
        match self.is_v1 {
            // It prints every profile, and YAML only.
            true => command.arg("config"),
            false => command.args(["--profile", "*", "config", "--format", "json"]),
        };
        let (status, text) = output(&mut command, CONFIG).await?;
        Ok(if status == 0 { Ok(text) } else { Err(Exit::Child(status)) })
    }

    /// Returns the command line with the words of this program in front.
    pub(super) fn words(self) -> impl Iterator<Item = OsString> {
        self.words.iter().map(OsString::from)
    }
}

async fn output(command: &mut Command, limit: Duration) -> Result<(u8, String), Failure> {
    let failed =
        |error: std::io::Error| Failure::failed(format_args!("cannot run Compose: {error}"));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut text = String::new();
    let stdout = child.stdout.take().expect("its output is a pipe");
    let mut stdout = stdout.take(MAX_OUTPUT);
    let run = async {
        stdout.read_to_string(&mut text).await?;
        // A longer output would keep it from ending.
        drop(stdout);
        child.wait().await
    };
    let status = timeout(limit, run).await.map_err(|_| {
        Failure::new(
            Exit::TimedOut,
            format_args!("Compose did not answer within {} s", limit.as_secs()),
        )
    })?;
    let code = portolan_supervisor::child::exit_code(status.map_err(failed)?);
    Ok((code, text))
}
