//! How a command ends: its exit status, and what it says when it fails.

use std::fmt;
use std::process::ExitCode;

/// The exit status of a command, as `--help` documents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Wrong usage or configuration.
    Usage,
    /// The service was not found.
    NotFound,
    /// No port is available.
    NoPort,
    /// The registry could not be asked.
    Unreachable,
    /// Not permitted.
    NotPermitted,
    /// Out of time.
    TimedOut,
    /// The status of the program that was started.
    Child(u8),
}

/// Why a command failed: for a person, with the exit status for a program.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

/// How a command ends.
pub(crate) type Ending = Result<Exit, Failure>;

// === impl Exit ===

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::NoPort => 4,
            Self::Unreachable => 5,
            Self::NotPermitted => 6,
            Self::TimedOut => 124,
            Self::Child(code) => code,
        }
    }

    /// The exit of another of our own processes.
    pub(crate) fn from_code(code: u8) -> Self {
        let own = [Self::Done, Self::Failed, Self::Usage, Self::NotFound, Self::NoPort];
        let more = [Self::Unreachable, Self::NotPermitted, Self::TimedOut];
        own.into_iter().chain(more).find(|exit| exit.code() == code).unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

// === impl Failure ===

impl Failure {
    /// A failure with its exit status.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// The configuration or the command line is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something else went wrong.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }
}
