//! Finds services by name, and speaks to the registry.
//!
//! Knows nothing of granting ports, of checking health, or of running services.

pub mod registry_client;

pub use registry_client::{
    ListQuery, Listing, Registered, RegistryClient, RegistryClientConfig, RegistryError, Watch,
    WatchForever, WatchQuery,
};
