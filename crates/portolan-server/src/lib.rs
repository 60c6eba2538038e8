//! The composition root: Portolan's own settings, and the registry server made of its parts.
//!
//! This is the one place that knows everything: [`Settings`] has a section a part, [`server`] builds
//! the parts in order, and `flows` holds every channel between them.

mod flows;
mod listen;
pub mod server;
pub mod settings;

pub use server::{RegistryServer, ServerError};
pub use settings::{InvalidSettings, LogFormat, LoggingConfig, STACK_KEYS, Settings};

#[doc(no_inline)]
pub use portolan_client::REGISTRY_SERVICE;
