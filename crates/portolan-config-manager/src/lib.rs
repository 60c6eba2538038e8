//! The configuration manager: loads layers of settings into one typed value, with the origin of each
//! setting.
//!
//! The layers are, weakest first: the defaults of the type, YAML files, environment variables
//! (`PORTOLAN_…`), and flags. An unknown key is an error with the nearest known key; an invalid value
//! is an error with file, line and column. The crate does not know the settings: they are the type
//! that [`Loader`] loads. [`ConfigManager`] changes them while the process runs.
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

mod de_error;
mod deserializer;
mod document;
mod environment;
mod error;
mod interpolation;
pub mod live;
mod loader;
mod node;
mod origin;
mod path;
mod scalar;
mod schema;
mod yaml;

pub use document::{Document, Entries};
pub use error::{ConfigError, Problem};
pub use live::ConfigManager;
pub use loader::{LoadableSettings, Loaded, Loader, Setting};
pub use origin::Origin;

/// The maximum size of a configuration file, in bytes: a thousand times the usual size.
pub const MAX_FILE_SIZE: u64 = 1024 * 1024;
