//! The composition root: Portolan's own settings, and the registry server made of its parts.
//!
//! This is the one place that knows everything: [`Settings`] has a section a part, [`server`] builds
//! the parts in order, and `flows` holds every channel between them.

mod flows;
mod listen;
pub mod server;
pub mod settings;

pub use server::{RegistryServer, ServerError};
pub use settings::{LogFormat, LoggingConfig, STACK_KEYS, Settings};

/// The name under which a registry reserves its port, so that programs on the same host find it
/// without being told where it is.
pub const REGISTRY_SERVICE: &str = "portolan-registry";
