//! The result of a command: an exit status, or a failure with a message and a remedy.

use std::fmt;
use std::process::ExitCode;

use kube::Error;
use portolan_client::RegistryClientError;
use portolan_core::{Remedy as _, escaped};

/// The exit status, the same as those of `portolan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unreachable = 5,
    NotPermitted = 6,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    remedy: Option<String>,
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), remedy: None }
    }

    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Sets what resolves the failure.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Prints the failure on standard error.
    #[allow(clippy::print_stderr, reason = "a command prints its failure")]
    pub(crate) fn print(&self) -> Exit {
        eprintln!("error: {}", escaped(&self.message));
        if let Some(remedy) = &self.remedy {
            eprintln!("  remedy: {}", escaped(remedy));
        }
        self.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Api(status) if matches!(status.code, 401 | 403) => Exit::NotPermitted,
            Error::Api(_) => Exit::Failed,
            Error::Auth(_) => Exit::NotPermitted,
            _ => Exit::Unreachable,
        };
        let failure = Self::new(exit, crate::cluster::describe(&error));
        match crate::cluster::remedy(&error) {
            Some(remedy) => failure.remedy(remedy),
            None => failure,
        }
    }
}

impl From<RegistryClientError> for Failure {
    fn from(error: RegistryClientError) -> Self {
        let exit = match &error {
            RegistryClientError::NotPermitted { .. } => Exit::NotPermitted,
            _ => Exit::Unreachable,
        };
        let failure = Self::new(exit, &error);
        match error.remedy() {
            Some(remedy) => failure.remedy(remedy),
            None => failure,
        }
    }
}
