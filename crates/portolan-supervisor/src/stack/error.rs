//! Errors of stack files.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use portolan_core::env::InvalidVariables;
use portolan_core::{Remedy, ServiceName};

use super::command::InvalidStackCommand;
use super::env_file::InvalidEnvFile;
use super::file::MAX_INSTANCES;
use super::files::FilesProblem;
use crate::InvalidAccount;
use crate::service::InvalidService;

/// Why a stack file is invalid. The text does not repeat the key; see [`path`](Self::path).
/// Permanent: the file must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStack {
    /// There are no services.
    #[error("no services: expected at least one with a command")]
    Empty,
    /// The number of instances is out of range.
    #[error("{found} instances: expected 1-{MAX_INSTANCES}")]
    Instances {
        /// The service.
        service: ServiceName,
        /// The configured number.
        found: u16,
    },
    /// Services need each other.
    #[error("dependency cycle {}", cycle.join(" -> "))]
    Cycle {
        /// The services, each of which needs the next one.
        cycle: Vec<String>,
    },
    /// The key has no effect without a port.
    #[error("no effect on a service without a port (port: none)")]
    Portless {
        /// The service.
        service: ServiceName,
        /// The key.
        key: &'static str,
    },
    /// A service has both a range and a pool.
    #[error("no effect beside a pool")]
    RangeAndPool {
        /// The service.
        service: ServiceName,
    },
    /// Standard input is closed although it is a terminal.
    #[error("no effect on a program with a terminal")]
    StdinOfTerminal {
        /// The service.
        service: ServiceName,
    },
    /// A strict service names no port.
    #[error("no effect without a port")]
    StrictWithoutPort {
        /// The service.
        service: ServiceName,
    },
    /// A strict service has a range.
    #[error("no effect beside a range")]
    StrictRange {
        /// The service.
        service: ServiceName,
    },
    /// A strict service names fewer ports than it has instances.
    #[error("{instances} instances cannot have the {ports} ports that are named")]
    StrictInstances {
        /// The service.
        service: ServiceName,
        /// The number of instances.
        instances: u16,
        /// The number of ports.
        ports: usize,
    },
    /// Draining takes the whole grace period.
    #[error("{drain:?} is not shorter than the grace period of {grace:?}")]
    Drain {
        /// The service.
        service: ServiceName,
        /// How long it is drained.
        drain: Duration,
        /// The time between the begin of the stop and SIGKILL.
        grace: Duration,
    },
    /// The files of a service cannot be rendered.
    #[error("{problem}")]
    Files {
        /// The service.
        service: ServiceName,
        /// What is wrong with them.
        problem: FilesProblem,
    },
    /// A need has no port, so it can never be discovered.
    #[error("{need} has no port, so it cannot be discovered")]
    NeedsPortless {
        /// The service.
        service: ServiceName,
        /// The need.
        need: ServiceName,
    },
    /// A need is not in the stack, but a service with a similar name is.
    #[error("no service {need} in this stack")]
    NeedsSimilar {
        /// The service.
        service: ServiceName,
        /// The need.
        need: ServiceName,
        /// The service with a similar name.
        similar: String,
    },
    /// A need must have completed, and is always started again.
    #[error("{need} never completes, as it is always restarted")]
    NeedsEndless {
        /// The service.
        service: ServiceName,
        /// The need.
        need: ServiceName,
    },
    /// Only the state of services of the same stack is known.
    #[error(
        "no service {need} in this stack, so it cannot be known when it has started or completed"
    )]
    NeedsForeign {
        /// The service.
        service: ServiceName,
        /// The need.
        need: ServiceName,
    },
    /// The command cannot be used.
    #[error("{problem}")]
    Command {
        /// The service.
        service: ServiceName,
        /// What is wrong with it.
        problem: InvalidStackCommand,
    },
    /// The command that stops the program cannot be used.
    #[error("{problem}")]
    StopCommand {
        /// The service.
        service: ServiceName,
        /// What is wrong with it.
        problem: InvalidStackCommand,
    },
    /// The command that stops the program names a socket.
    #[error("a stop command has no socket of the program, so there is no {{fd}}")]
    StopCommandSocket {
        /// The service.
        service: ServiceName,
    },
    /// A placeholder is the address of a service that is not needed.
    #[error("{place} is the address of a service that this one does not need")]
    Placeholder {
        /// The service.
        service: ServiceName,
        /// The key that contains the placeholder.
        key: &'static str,
        /// The placeholder.
        place: String,
        /// The service of the stack with this name or a similar one.
        similar: String,
    },
    /// A text in braces resembles a placeholder.
    #[error("{place} is not a placeholder")]
    UnknownPlaceholder {
        /// The service.
        service: ServiceName,
        /// The key that contains it.
        key: &'static str,
        /// The text, with its braces.
        place: String,
        /// The placeholder that it resembles.
        similar: String,
    },
    /// The program cannot run under its user or group.
    #[error("{problem}")]
    Account {
        /// The service.
        service: ServiceName,
        /// What is wrong with it.
        problem: InvalidAccount,
    },
    /// The working directory does not exist.
    #[error("there is no directory {}", directory.display())]
    Directory {
        /// The service.
        service: ServiceName,
        /// The directory, as it is written.
        directory: PathBuf,
    },
    /// A file with environment variables cannot be used.
    #[error("{problem}")]
    EnvFile {
        /// The service.
        service: ServiceName,
        /// What is wrong with it.
        problem: InvalidEnvFile,
    },
    /// The environment variables of the needs collide, or have a meaning of their own.
    #[error("{source}")]
    Variables {
        /// The service.
        service: ServiceName,
        /// What is wrong with them.
        source: InvalidVariables,
    },
    /// The command, the environment and the ports are inconsistent.
    #[error("{source}")]
    Service {
        /// The service.
        service: ServiceName,
        /// The inconsistency.
        source: InvalidService,
    },
}

// === impl InvalidStack ===

impl InvalidStack {
    /// Returns the key that must change, such as `services.api.needs`.
    pub fn path(&self) -> String {
        match self {
            Self::Files { service, .. } => format!("services.{service}.files"),
            Self::Empty | Self::Cycle { .. } => "services".to_owned(),
            Self::Instances { service, .. } => format!("services.{service}.instances"),
            Self::Portless { service, key } => format!("services.{service}.{key}"),
            Self::Drain { service, .. } => format!("services.{service}.drain"),
            Self::RangeAndPool { service } => format!("services.{service}.range"),
            Self::StdinOfTerminal { service } => format!("services.{service}.stdin"),
            Self::StrictWithoutPort { service }
            | Self::StrictRange { service }
            | Self::StrictInstances { service, .. } => format!("services.{service}.strict"),
            Self::NeedsPortless { service, .. }
            | Self::NeedsSimilar { service, .. }
            | Self::NeedsForeign { service, .. }
            | Self::NeedsEndless { service, .. }
            | Self::Variables { service, .. } => {
                format!("services.{service}.needs")
            }
            Self::Command { service, .. } => format!("services.{service}.command"),
            Self::StopCommand { service, .. } | Self::StopCommandSocket { service } => {
                format!("services.{service}.stop_command")
            }
            Self::Placeholder { service, key, .. }
            | Self::UnknownPlaceholder { service, key, .. } => format!("services.{service}.{key}"),
            Self::Account { service, problem } => format!("services.{service}.{}", problem.key()),
            Self::Directory { service, .. } => format!("services.{service}.directory"),
            Self::EnvFile { service, .. } => format!("services.{service}.env_file"),
            Self::Service { service, .. } => format!("services.{service}"),
        }
    }
}

impl InvalidStack {
    /// Returns whether the problem may be due to a service that could not be read.
    pub fn is_of_whole_stack(&self) -> bool {
        matches!(self, Self::Empty | Self::NeedsSimilar { .. } | Self::NeedsForeign { .. })
    }
}

impl Remedy for InvalidStack {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Empty | Self::Instances { .. } => return None,
            Self::Cycle { .. } => "remove one of the needs".into(),
            Self::Portless { key, .. } => {
                format!("remove {key}, or give the service a port").into()
            }
            Self::RangeAndPool { .. } => "remove the range or the pool".into(),
            Self::StdinOfTerminal { .. } => "remove stdin or tty".into(),
            Self::StrictWithoutPort { .. } => {
                "set port to the port, or to the list of ports, that it may have".into()
            }
            Self::Drain { .. } => "set grace to more: the program ends in what is left of it".into(),
            Self::Files { problem, .. } => problem.remedy().into(),
            Self::StrictRange { .. } => "remove the range or strict".into(),
            Self::StrictInstances { instances, .. } => {
                format!("set port to a list of {instances} ports").into()
            }
            Self::NeedsPortless { need, .. } => {
                format!("give {need} a port, or wait for its state with {{{need}: started}} or {{{need}: completed}}").into()
            }
            Self::NeedsSimilar { similar, .. } => format!("write {similar}, or give one of them a name of its own").into(),
            Self::NeedsEndless { need, .. } => format!("set restart of {need} to on-failure, or need it as started").into(),
            Self::NeedsForeign { .. } => "remove the need, or add the service".into(),
            Self::Command { problem, .. } | Self::StopCommand { problem, .. } => {
                return problem.hint();
            }
            Self::StopCommandSocket { .. } => "connect to {port}".into(),
            Self::Placeholder { similar, .. } => {
                format!("add {similar} to needs, and write {{{similar}.url}}, {{{similar}.host}} or {{{similar}.port}}").into()
            }
            Self::UnknownPlaceholder { similar, .. } => {
                format!("write {similar}; if it is for the program, give it another name").into()
            }
            Self::Account { problem, .. } => problem.hint().into(),
            Self::Directory { .. } => "create it, or correct its path, which is relative to the file".into(),
            Self::EnvFile { problem, .. } => problem.hint(),
            // A stack has no prefix: its file can set other variables with `env`.
            Self::Variables { .. } => "rename one of the services".into(),
            Self::Service { source, .. } => return source.remedy(),
        })
    }
}
