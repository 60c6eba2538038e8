//! Why a service did not start.

use std::io;

use portolan_agent::AgentError;
use portolan_core::ServiceName;
use portolan_port_allocator::AllocatorError;

use crate::CommandLine;

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It got no port.
    #[error(transparent)]
    Port(#[from] AllocatorError),
    /// The program did not start.
    #[error("cannot start `{program}`: {source}{}", hint(source))]
    Program {
        /// The program, as it is looked for.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Strangers were faster on every port that was tried.
    #[error(
        "{stranger} listens on port {port}, which {service} was to have; end it, or choose another port with --preferred; where it listens on the service's behalf, say --handoff claim"
    )]
    Stolen {
        /// The service.
        service: ServiceName,
        /// The last port that was tried.
        port: u16,
        /// Who has it.
        stranger: String,
    },
    /// It could not be made findable.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

// === impl StartError ===

impl StartError {
    pub(super) fn of_program(command: &CommandLine, source: io::Error) -> Self {
        Self::Program { program: command.program().to_owned(), source }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; is it installed, and in PATH?",
        io::ErrorKind::PermissionDenied => "; is it executable?",
        _ => "",
    }
}
