//! Finds services by name: five strategies in order, retries, a cache that stays current, a watch;
//! and a client of the registry's HTTP API.
//!
//! Knows nothing of granting ports, of checking health, or of running services.

pub mod attempt;
pub mod blocking;
mod builder;
mod cache;
mod chain;
mod channel;
mod client;
pub mod config;
mod discover;
pub mod environment;
mod error;
mod explanation;
mod finder;
mod flights;
mod freshness;
mod handshake;
mod news;
mod parts;
mod pick;
mod refresh;
pub mod registry_client;
mod reservations;
mod strategies;
mod strategy;
mod watch;

pub use attempt::{Answer, Attempt};
pub use builder::DiscoveryClientBuilder;
pub use client::DiscoveryClient;
pub use config::{DiscoveryConfig, InvalidDiscovery};
pub use discover::{Discover, DiscoverAll, Discovered};
pub use environment::InvalidVariable;
pub use error::DiscoverError;
pub use explanation::Explanation;
pub use registry_client::{
    ListQuery, Listing, Registered, RegistryClient, RegistryClientConfig, RegistryError, Watch,
    WatchForever, WatchQuery,
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
