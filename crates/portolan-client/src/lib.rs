//! Service discovery by name: strategies in order, retries, a cache that change feeds keep current,
//! and watches; and a client of the registry's HTTP API.
//!
//! Independent of port allocation, health checks and the operating system. The reservations of the
//! host are an extension point ([`Reservations`]), and so are the strategies ([`strategy`]).

pub mod attempt;
pub mod blocking;
mod builder;
mod cache;
mod cache_sync;
mod cache_update;
mod cached_resolver;
mod chain;
mod client;
pub mod config;
mod deadline;
mod deps;
mod discover;
mod discovered;
mod dns_config;
mod dns_resolver;
pub mod environment;
mod error;
mod evidence;
mod failure_reporter;
mod feeds;
mod given_name;
mod handshake;
mod instances;
mod lazy_broadcaster;
mod lifecycle;
mod locality;
mod options;
mod proof;
mod refresh;
pub mod registry_client;
mod reservations;
mod resolver;
mod select;
mod selection;
mod singleflight;
mod static_endpoints;
mod strategies;
pub mod strategy;
mod strategy_name;
mod timeouts;
mod trust;
mod watch;
mod well_known_port;

pub use attempt::{Attempt, AttemptOutcome};
pub use builder::DiscoveryClientBuilder;
pub use client::DiscoveryClient;
pub use config::{CacheConfig, DiscoveryConfig, InvalidDiscovery};
pub use deadline::Deadline;
pub use discover::{Discover, DiscoverAll, DiscoverFuture};
pub use discovered::{Discovered, Explanation};
pub use dns_config::{DnsConfig, InvalidDomain};
pub use environment::InvalidVariable;
pub use error::DiscoverError;
pub use given_name::ToServiceName;
pub use instances::{OpenInstances, PickedInstance, ServiceInstances};
pub use proof::Proof;
pub use registry_client::{
    InstanceHealth, LastChecks, ListQuery, Listing, MAX_OPERATIONS, Operation, Readiness,
    ReconnectingWatch, RegisterResponse, RegistryClient, RegistryClientConfig, RegistryClientError,
    RegistrySession, RegistryWatch, SettingsClient, SettingsVersion, SettingsWatch, UpdateError,
    WatchRequest, normalized_url,
};
pub use reservations::{
    HostDefaults, REGISTRY_SERVICE, Reservation, Reservations, ReservationsError, UnknownHost,
};
pub use selection::LoadBalancingPolicy;
pub use static_endpoints::{ConfiguredEndpoint, ConfiguredEndpoints, InvalidEndpoint};
pub use strategy::{Strategy, StrategyError};
pub use strategy_name::{StrategyName, UnknownStrategy};
pub use timeouts::Timeouts;
pub use trust::Trust;
pub use watch::ServiceWatch;

#[cfg(test)]
mod errors_tests;
#[cfg(test)]
mod testing;
