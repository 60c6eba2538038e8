//! The registry's HTTP API. Independent of strategies, caches and retries.

mod batch;
mod client;
mod clock;
mod config;
mod error;
mod event_connection;
mod health;
mod local;
mod query;
mod readiness;
mod reconnect;
mod response;
mod servers;
mod session;
mod settings;
mod srv;
mod sse;
mod token;
mod transport;
mod vantage;
mod watch;

pub use batch::{MAX_OPERATIONS, Operation};
pub use client::{RegisterResponse, RegistryClient};
pub use config::RegistryClientConfig;
pub use error::RegistryClientError;
pub use health::{InstanceHealth, LastChecks};
pub use query::{ListQuery, Listing, WatchRequest};
pub use readiness::Readiness;
pub use reconnect::ReconnectingWatch;
pub(crate) use reconnect::{ConnectionEvent, ConnectionEvents};
pub(crate) use servers::check_urls;
pub use servers::normalized_url;
pub use session::RegistrySession;
pub use settings::{SettingsClient, SettingsVersion, SettingsWatch, UpdateError};
pub use watch::RegistryWatch;
