//! Portolan's service registry: which instances there are, how well they are, and what changes.
//!
//! One [`RegistryTask`] changes things, in order; everybody else holds a [`Registry`], which is cheap to
//! clone, reads without asking the writer, and hands changes to it through a bounded queue. What
//! is kept, the order of changes and the end of leases are the matter of a [`store::Store`].
//!
//! Knows nothing of HTTP, datagrams or health checks.
//!
//! ```
//! use portolan_registry::{Origin, Query, RegistryConfig, open};
//! use portolan_core::{Host, Registration};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (writer, registry) = open(&RegistryConfig::default(), Default::default())?;
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let writing = tokio::spawn(writer.run(async { drop(stopped.await) }));
//!
//! let api = Registration::new("api".parse()?, Host::loopback(), 8080);
//! let registered = registry.register(api, Origin::local()).await?;
//! assert!(registered.created);
//!
//! let (found, _revision) = registry.lookup(&Query::for_service("api".parse()?));
//! assert_eq!(found[0].address(), "127.0.0.1:8080");
//!
//! drop(stop);
//! writing.await?;
//! # Ok(())
//! # }
//! ```

mod audit;
pub mod command;
pub mod config;
pub mod error;
pub mod event_stream;
pub mod query;
pub mod registry;
pub mod store;
pub mod task;
mod view;

pub use command::{Command, CommandOutcome, Origin, Registered, Source};
pub use config::{InvalidRegistryConfig, RegistryConfig, StorageBackend};
pub use error::RegistryError;
pub use event_stream::EventStream;
pub use query::{Query, WatchQuery};
pub use registry::{Registry, open};
pub use task::RegistryTask;
