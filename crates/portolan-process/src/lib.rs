//! Commands that run to their end: of health checks, and before and after a file is rendered.

mod group;
mod words;

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use portolan_core::env::is_secret;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::time::timeout;

use group::ProcessGroup;
pub use words::{CommandWords, InvalidWords};

/// How much of the output is kept, in bytes.
const MAX_OUTPUT: usize = 16 * 1024;
/// How long the output is read after the program has ended.
const REST: Duration = Duration::from_millis(100);

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// The first 16 KiB of its standard output and standard error, in the order in which they were written.
    pub output: Vec<u8>,
}

/// Runs a command to its end, in a process group of its own, without input and without the secrets of Portolan in its
/// environment. If the future is dropped, as at a deadline, every process of the group is killed; so is what the program has
/// left running at its end.
///
/// # Errors
///
/// The program cannot be started.
pub async fn run_to_end(mut command: Command) -> io::Result<Finished> {
    let (read, written) = io::pipe()?;
    let mut pipe = Receiver::from_owned_fd(read.into())?;
    remove_secrets(&mut command);
    command.stdin(Stdio::null()).stdout(written.try_clone()?).stderr(written).process_group(0);
    let mut child = command.spawn()?;
    // It has the other ends of the pipe, so that reading would not end.
    drop(command);
    let group = ProcessGroup::of(&child);
    let mut output = Vec::new();
    let status = tokio::select! {
        status = child.wait() => status?,
        never = read_all(&mut pipe, &mut output) => {
            // The program has closed its output and goes on.
            never?;
            child.wait().await?
        }
    };
    // What it has left running would be one more with each run.
    drop(group);
    _ = timeout(REST, read_all(&mut pipe, &mut output)).await;
    Ok(Finished { status, output })
}

// === impl Finished ===

impl Finished {
    /// Returns the first line of the output that is not empty, without control characters, and at most 200 characters of it.
    pub fn first_line(&self) -> String {
        const MAX: usize = 200;
        let text = String::from_utf8_lossy(&self.output);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        line.chars().filter(|c| !c.is_control()).take(MAX).collect()
    }
}

fn remove_secrets(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_secret) {
            command.env_remove(name);
        }
    }
}

/// Reads to the end and keeps the beginning, so that a program with much output does not wait.
async fn read_all(pipe: &mut Receiver, kept: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = pipe.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let room = MAX_OUTPUT - kept.len();
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}
