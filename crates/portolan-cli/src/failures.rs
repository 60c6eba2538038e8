//! Which exit status each error of the library has: one row an error.

use portolan_agent::AgentError;
use portolan_broadcast::{AnnounceError, BroadcastError, QueryError};
use portolan_client::{DiscoverError, InvalidDiscovery, RegistryClientError};
use portolan_config_manager::ConfigError;
use portolan_port_allocator::AllocatorError;
use portolan_server::ServerError;
use portolan_supervisor::StartError;

use crate::exit::{Exit, Failure};

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<AllocatorError> for Failure {
    fn from(error: AllocatorError) -> Self {
        Self::new(of_allocator(&error), error)
    }
}

impl From<RegistryClientError> for Failure {
    fn from(error: RegistryClientError) -> Self {
        Self::new(of_registry(&error), error)
    }
}

impl From<DiscoverError> for Failure {
    fn from(error: DiscoverError) -> Self {
        let exit = match &error {
            DiscoverError::InvalidName(_) | DiscoverError::UnknownStrategy(_) => Exit::Usage,
            DiscoverError::Disabled | DiscoverError::NothingToWatch => Exit::Usage,
            DiscoverError::NotFound { .. } => Exit::NotFound,
            DiscoverError::CouldNotAsk { .. } => Exit::Unreachable,
            DiscoverError::TimedOut { .. } => Exit::TimedOut,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<InvalidDiscovery> for Failure {
    fn from(error: InvalidDiscovery) -> Self {
        Self::usage(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Port(error) => of_allocator(error),
            StartError::Agent(error) => of_agent(error),
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let exit = match &error {
            ServerError::Disabled | ServerError::Config(_) | ServerError::PortZero => Exit::Usage,
            ServerError::Port(error) => of_allocator(error),
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<BroadcastError> for Failure {
    fn from(error: BroadcastError) -> Self {
        Self::usage(error)
    }
}

impl From<AnnounceError> for Failure {
    fn from(error: AnnounceError) -> Self {
        Self::failed(error)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::failed(error)
    }
}

fn of_allocator(error: &AllocatorError) -> Exit {
    match error {
        AllocatorError::NoPortsAvailable { .. }
        | AllocatorError::QuotaExceeded { .. }
        | AllocatorError::RateLimited { .. } => Exit::NoPort,
        AllocatorError::Disabled
        | AllocatorError::Name(_)
        | AllocatorError::Range(_)
        | AllocatorError::PreferredZero { .. }
        | AllocatorError::PreferredReserved { .. }
        | AllocatorError::PreferredBlocked { .. }
        | AllocatorError::PreferredOutside { .. }
        | AllocatorError::SamePortTwice { .. }
        | AllocatorError::UnknownPool { .. }
        | AllocatorError::NowhereToLook { .. }
        | AllocatorError::AddressNotHere { .. } => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn of_agent(error: &AgentError) -> Exit {
    match error {
        AgentError::Registry(error) => of_registry(error),
        _ => Exit::Failed,
    }
}

fn of_registry(error: &RegistryClientError) -> Exit {
    match error {
        RegistryClientError::Unreachable { .. } => Exit::Unreachable,
        RegistryClientError::NotPermitted { .. } => Exit::NotPermitted,
        RegistryClientError::UnknownService { .. } => Exit::NotFound,
        RegistryClientError::InvalidUrl { .. } | RegistryClientError::InvalidToken => Exit::Usage,
        _ => Exit::Failed,
    }
}
