//! The composition root: Portolan's own settings, and the registry server composed of its parts.
//!
//! This is the one crate that knows all others: [`Settings`] has a section for each component,
//! [`server`] starts the components in order, and `flows` holds every channel between them.

mod access;
mod error;
mod flows;
mod listen;
pub mod live;
mod own_names;
mod parts;
pub mod secrets;
pub mod server;
pub mod settings;
mod stack_access;
mod transport;

pub use access::{InvalidAccess, LoadedPolicies, read_policies};
pub use error::ServerError;
pub use live::{LIVE_SETTINGS, LIVE_STACK_SETTINGS};
pub use server::{RegistryServer, RegistryServerBuilder};
pub use settings::{InvalidSettings, LogFormat, LoggingConfig, STACK_KEYS, Settings};
pub use transport::{InvalidTls, check_certificates};

#[doc(no_inline)]
pub use portolan_client::REGISTRY_SERVICE;
