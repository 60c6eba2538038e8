//! The exit status of each error of the library.

use std::time::Duration;

use portolan_access::AccessFileError;
use portolan_agent::AgentError;
use portolan_audit::AuditError;
use portolan_broadcast::{AnnounceError, BroadcastError, QueryError};
use portolan_client::{DiscoverError, InvalidDiscovery, RegistryClientError};
use portolan_config_manager::ConfigError;
use portolan_core::duration::format_duration;
use portolan_core::schemes::UnknownScheme;
use portolan_core::{ServiceId, ServiceName};
use portolan_port_allocator::AllocatorError;
use portolan_registry::store::InspectError;
use portolan_registry::transfer::{ImportError, InvalidExport};
use portolan_server::{InvalidAccess, InvalidSettings, InvalidTls, ServerError};
use portolan_supervisor::StartError;
#[cfg(feature = "full")]
use portolan_tls::TlsError;

use crate::exit::{Exit, Failure};

/// Converts each error into a [`Failure`] with its remedy and the exit status that the function returns.
macro_rules! failures {
    ($($(#[$feature:meta])? $error:ty => $exit:expr,)*) => {$(
        $(#[$feature])?
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let exit: fn(&$error) -> Exit = $exit;
                Failure::from_error(exit(&error), &error)
            }
        }
    )*};
}

failures! {
    AccessFileError => |_| Exit::Failed,
    AgentError => agent_exit,
    AllocatorError => allocator_exit,
    AnnounceError => |_| Exit::Failed,
    AuditError => |_| Exit::Failed,
    BroadcastError => |_| Exit::Usage,
    #[cfg(feature = "full")]
    TlsError => |_| Exit::Failed,
    ConfigError => |_| Exit::Usage,
    DiscoverError => discover_exit,
    InvalidDiscovery => |_| Exit::Usage,
    ImportError => |_| Exit::Usage,
    InspectError => inspect_exit,
    InvalidExport => |_| Exit::Failed,
    InvalidSettings => |_| Exit::Usage,
    InvalidAccess => |_| Exit::Usage,
    InvalidTls => |_| Exit::Usage,
    QueryError => |_| Exit::Failed,
    RegistryClientError => registry_exit,
    ServerError => server_exit,
    StartError => start_exit,
    UnknownScheme => |_| Exit::Usage,
}

fn discover_exit(error: &DiscoverError) -> Exit {
    match error {
        error if error.is_not_permitted() => Exit::NotPermitted,
        DiscoverError::InvalidName(_) | DiscoverError::UnknownStrategy(_) => Exit::Usage,
        DiscoverError::Disabled | DiscoverError::NothingToWatch => Exit::Usage,
        DiscoverError::NotFound { .. } | DiscoverError::NotAvailable { .. } => Exit::NotFound,
        DiscoverError::CouldNotAsk { .. } => Exit::Unreachable,
        DiscoverError::TimedOut { .. } | DiscoverError::NotReady { .. } => Exit::TimedOut,
        _ => Exit::Failed,
    }
}

fn inspect_exit(error: &InspectError) -> Exit {
    match error {
        InspectError::Config(_) | InspectError::NothingKept(_) => Exit::Usage,
        InspectError::Unreachable { .. } => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// Converts the failure of a lookup that waited this long: the service was not ready in time.
pub(crate) fn wait_failure(error: DiscoverError, name: &ServiceName, wait: Duration) -> Failure {
    match Failure::from(error) {
        missing @ Failure { exit: Exit::NotFound | Exit::Unreachable, .. } => {
            let wait = format_duration(wait);
            let message = format!("{name} was not ready within {wait}\n{}", missing.message);
            Failure { exit: Exit::TimedOut, message, ..missing }
        }
        failure => failure,
    }
}

fn start_exit(error: &StartError) -> Exit {
    match error {
        StartError::Port(error) => allocator_exit(error),
        StartError::Agent(error) => agent_exit(error),
        StartError::Program { .. } => Exit::Child(error.exit_code()),
        _ => Exit::Failed,
    }
}

fn agent_exit(error: &AgentError) -> Exit {
    match error {
        AgentError::Registry(error) => registry_exit(error),
        AgentError::Invalid(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn server_exit(error: &ServerError) -> Exit {
    match error {
        ServerError::Disabled
        | ServerError::Config(_)
        | ServerError::PortZero
        | ServerError::Tls(_)
        | ServerError::Access(_)
        | ServerError::WeakToken { .. } => Exit::Usage,
        ServerError::Port(error) => allocator_exit(error),
        _ => Exit::Failed,
    }
}

fn allocator_exit(error: &AllocatorError) -> Exit {
    match error {
        AllocatorError::NoPortsAvailable { .. }
        | AllocatorError::QuotaExceeded { .. }
        | AllocatorError::RateLimited { .. } => Exit::NoPort,
        AllocatorError::Disabled
        | AllocatorError::Name(_)
        | AllocatorError::Range(_)
        | AllocatorError::PreferredZero { .. }
        | AllocatorError::PreferredReserved { .. }
        | AllocatorError::StrictWithoutPort { .. }
        | AllocatorError::PreferredOutside { .. }
        | AllocatorError::SamePortTwice { .. }
        | AllocatorError::UnknownPool { .. }
        | AllocatorError::NoPortsConfigured { .. }
        | AllocatorError::AddressNotHere { .. } => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn registry_exit(error: &RegistryClientError) -> Exit {
    match error {
        error if error.is_temporary() => Exit::Unreachable,
        // The request may be repeated by the owner of the registration only.
        RegistryClientError::NotPermitted { .. }
        | RegistryClientError::Conflict { .. }
        | RegistryClientError::ForeignListener { .. } => Exit::NotPermitted,
        RegistryClientError::UnknownService { .. } | RegistryClientError::NoSettings { .. } => {
            Exit::NotFound
        }
        RegistryClientError::InvalidUrl { .. } | RegistryClientError::InvalidToken => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// Converts an error about an instance that was named by its id.
pub(crate) fn instance_failure(error: RegistryClientError, id: &ServiceId) -> Failure {
    match error {
        RegistryClientError::UnknownService { .. } => {
            Failure::new(Exit::NotFound, format_args!("the registry has no instance with id {id}"))
                .remedy("use an id that `portolan list` shows")
        }
        error => error.into(),
    }
}
