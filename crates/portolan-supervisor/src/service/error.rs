//! Errors of starting a service.

use std::borrow::Cow;
use std::io;

use portolan_agent::AgentError;
use portolan_core::{Remedy, ServiceName};
use portolan_port_allocator::AllocatorError;

use crate::CommandLine;

/// Why a service could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No port was leased.
    #[error(transparent)]
    Port(#[from] AllocatorError),
    /// The program could not be executed.
    #[error("cannot start `{program}`: {source}")]
    Program {
        /// The program, as given in the command.
        program: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A foreign process bound every port that was tried.
    #[error("foreign process {process} listens on port {port} of {service}")]
    PortTaken {
        /// The service.
        service: ServiceName,
        /// The last port that was tried.
        port: u16,
        /// The process that listens on it, or `of user NAME` if the system does not show it.
        process: String,
    },
    /// The service could not be registered.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

// === impl StartError ===

impl StartError {
    pub(super) fn program(command: &CommandLine, source: io::Error) -> Self {
        Self::Program { program: command.program().to_owned(), source }
    }
}

impl StartError {
    /// Returns the exit status that stands for the error: as in shells, 127 if there is no such program, 126 if it cannot be executed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Program { .. } => 126,
            Self::Port(_) | Self::PortTaken { .. } => 4,
            Self::Agent(_) => 1,
        }
    }
}

impl Remedy for StartError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Port(error) => error.remedy(),
            Self::Program { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("install the program, or add it to PATH".into()),
                io::ErrorKind::PermissionDenied => Some("make the program executable".into()),
                _ => None,
            },
            Self::PortTaken { .. } => Some(
                "end that process, choose another port with --preferred, or use --handoff claim if it listens on behalf of the service".into(),
            ),
            Self::Agent(error) => error.remedy(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_remedies() {
        let service: ServiceName = "api".parse().unwrap();
        let program = |errno| StartError::Program {
            program: "./server".to_owned(),
            source: io::Error::from_raw_os_error(errno),
        };
        let process = "redis-server (pid 42, user redis)".to_owned();
        let errors = [
            StartError::Port(AllocatorError::Disabled),
            program(2),
            program(13),
            program(12),
            StartError::PortTaken { service, port: 8080, process },
            StartError::Agent(AgentError::NoPublishTarget { service_id: "api@1".parse().unwrap() }),
        ];
        insta::assert_snapshot!(crate::test_env::texts_and_remedies(&errors));
    }
}
