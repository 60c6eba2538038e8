//! The result of a command: an exit status, or a failure with a message and a remedy.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

use portolan_core::Remedy;

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
    /// The registry cannot be reached.
    Unreachable,
    /// Not permitted.
    NotPermitted,
    /// Timed out.
    TimedOut,
    /// The exit status of the program that was started.
    Child(u8),
}

/// Why a command failed: an exit status for programs, a message and a remedy for people.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
}

/// The result of a command.
pub(crate) type CommandResult = Result<Exit, Failure>;

// === impl Exit ===

impl Exit {
    /// Returns the exit status as a number.
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

    /// Converts the exit status of another `portolan` process.
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
    /// A failure without a remedy.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), remedy: None }
    }

    /// An error of the library, with its remedy.
    pub(crate) fn from_error(exit: Exit, error: &impl Remedy) -> Self {
        let remedy = error.remedy().map(Cow::into_owned);
        Self { remedy, ..Self::new(exit, error) }
    }

    /// Sets what resolves the failure, as an imperative without a full stop.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// The configuration or the command line is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Any other failure.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  remedy: {remedy}"),
            None => Ok(()),
        }
    }
}
