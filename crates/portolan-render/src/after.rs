//! What happens after a file has changed: a command, or a signal to the program that reads it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Remedy as _, quoted};
use portolan_process::CommandWords;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::Notify;

use crate::pid_file::process_of;
use crate::run_on::run_on;

/// How long the command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What happens after a file has changed.
#[derive(Debug, Clone)]
pub enum AfterChange {
    /// A command runs, with the path of the file in the place of `{file}`.
    Command(CommandWords),
    /// The process whose id is in the file gets a signal.
    Signal {
        /// The signal.
        signal: Signal,
        /// The file with the process id, as daemons write it.
        pid_file: PathBuf,
    },
    /// A task of this process is told, such as one that supervises the program which reads the file.
    Notify {
        /// What it does then, for errors and logs.
        action: String,
        /// Tells it. Changes that it has not taken yet count once.
        changed: Arc<Notify>,
    },
}

/// The signals by which programs read their files again or end, by their names.
const SIGNALS: [(&str, Signal); 7] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
];

/// A text that names no signal by which a program reads its files again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no signal; expected HUP, INT, QUIT, TERM, USR1, USR2 or WINCH")]
pub struct UnknownSignal(String);

/// Parses the name of a signal, with or without `SIG`.
///
/// # Errors
///
/// The text names another signal or none.
pub fn parse_signal(text: &str) -> Result<Signal, UnknownSignal> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = SIGNALS.iter().find(|(known, _)| *known == name);
    found.map(|(_, signal)| *signal).ok_or_else(|| UnknownSignal(quoted(text)))
}

// === impl AfterChange ===

impl AfterChange {
    /// Runs the command to its end, or sends the signal; returns why that failed.
    pub(crate) async fn run(&self, file: &Path) -> Result<(), String> {
        match self {
            Self::Command(words) => run(words, file).await,
            Self::Signal { signal, pid_file } => send(*signal, pid_file),
            Self::Notify { changed, .. } => {
                changed.notify_one();
                Ok(())
            }
        }
    }
}

impl fmt::Display for AfterChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(words) => write!(f, "`{words}`"),
            Self::Signal { signal, pid_file } => {
                let known = SIGNALS.iter().find(|(_, known)| known == signal);
                let name = known.map_or("?", |(name, _)| name);
                write!(f, "SIG{name} to the process in {}", pid_file.display())
            }
            Self::Notify { action, .. } => f.write_str(action),
        }
    }
}

async fn run(words: &CommandWords, file: &Path) -> Result<(), String> {
    let finished = run_on(words, file, LIMIT).await?;
    match finished.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", finished.status, finished.first_line())),
    }
}

fn send(signal: Signal, pid_file: &Path) -> Result<(), String> {
    let process = process_of(pid_file).map_err(|error| error.with_remedy())?;
    pidfd_send_signal(process, signal).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
