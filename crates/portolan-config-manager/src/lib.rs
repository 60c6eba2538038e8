//! The configuration manager: layers of settings become one typed value, and every setting knows
//! where it came from.
//!
//! The layers are, weakest first: the defaults of the type itself, YAML files, the environment
//! (`PORTOLAN_…`), and flags. What is unknown is refused with the nearest known name; what is wrong
//! is refused with its file, line and column. Knows no other part of Portolan: which sections
//! exist is said by the type that [`Loader`] is asked to load.
//!
//! ```
//! use portolan_config_manager::Loader;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Clone, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Settings {
//!     retries: u32,
//! }
//!
//! impl Default for Settings {
//!     fn default() -> Self {
//!         Self { retries: 3 }
//!     }
//! }
//!
//! let loaded = Loader::<Settings>::new().flag("--retries", "retries", "5").load()?;
//! assert_eq!(loaded.value.retries, 5);
//! assert_eq!(loaded.origins["retries"].to_string(), "flag --retries");
//! # Ok::<(), portolan_config_manager::ConfigError>(())
//! ```

mod deserializer;
mod document;
mod environment;
mod error;
mod fault;
mod known;
mod loader;
mod manager;
mod node;
mod origin;
mod path;
mod scalar;
mod suggest;
mod yaml;

pub use document::Document;
pub use error::{ConfigError, Problem};
pub use loader::{Loaded, Loader, Setting, Settings};
pub use manager::ConfigManager;
pub use origin::Origin;

/// The greatest size of one configuration file, in bytes: a thousand times what a real one has.
pub const MAX_FILE_SIZE: u64 = 1024 * 1024;
