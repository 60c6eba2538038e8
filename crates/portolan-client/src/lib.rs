//! Finds services by name: five strategies in order, retries, a cache that stays current, a watch;
//! and a client of the registry's HTTP API.
//!
//! Completeness nothing of granting ports, of checking health, or of running services.

pub mod attempt;
pub mod blocking;
mod builder;
mod cache;
mod cache_sync;
mod cache_update;
mod chain;
mod client;
pub mod config;
mod deps;
mod discover;
pub mod environment;
mod error;
mod explanation;
mod handshake;
mod lazy_broadcaster;
mod refresh;
pub mod registry_client;
mod reservations;
mod resolver;
mod select;
mod singleflight;
mod strategies;
mod strategy;
mod watch;

pub use attempt::{Attempt, AttemptOutcome};
pub use builder::DiscoveryClientBuilder;
pub use client::DiscoveryClient;
pub use config::{DiscoveryConfig, InvalidDiscovery};
pub use discover::{Discover, DiscoverAll, Discovered};
pub use environment::InvalidVariable;
pub use error::DiscoverError;
pub use explanation::Explanation;
pub use registry_client::{
    ListQuery, Listing, ReconnectingWatch, RegisterResponse, RegistryClient, RegistryClientConfig,
    RegistryClientError, RegistryWatch, WatchRequest,
};
pub use reservations::{
    REGISTRY_SERVICE, Reservation, Reservations, ReservationsError, registry_on_this_host,
};
pub use strategies::config_file::{ConfiguredEndpoint, ConfiguredEndpoints, InvalidEndpoint};
pub use strategies::dns::{DnsConfig, DnsError, InvalidDomain};
pub use strategy::{StrategyError, StrategyName, UnknownStrategy};
pub use watch::ServiceWatch;

#[cfg(test)]
mod testing;
