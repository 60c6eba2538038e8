//! Portolan's service registry: instances of services, their health, and a history of changes.
//!
//! A [`Registry`] is a handle: cheap to clone, it reads from a view in memory and sends commands to
//! a bounded queue. A [`RegistryTask`] commits them to a [`store::Store`], and applies what the
//! store has committed to the view. A command is answered once the view shows it.
//!
//! Independent of HTTP, datagrams and health checks.
//!
//! ```
//! use portolan_core::{Host, Registration};
//! use portolan_registry::{CommandOrigin, Query, RegistryConfig, open};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (task, registry) = open(&RegistryConfig::default(), Default::default())?;
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let running = tokio::spawn(task.run(async { drop(stopped.await) }));
//!
//! let api = Registration::new("api".parse()?, Host::loopback(), 8080);
//! let registered = registry.register(api, CommandOrigin::local()).await?;
//! assert!(registered.created);
//!
//! let (found, _revision) = registry.lookup(&Query::for_service("api".parse()?));
//! assert_eq!(found[0].address(), "127.0.0.1:8080");
//!
//! drop(stop);
//! running.await?;
//! # Ok(())
//! # }
//! ```

mod audit;
mod command;
mod committer;
mod config;
mod error;
mod event_stream;
mod members;
mod query;
mod registry;
mod schedule;
mod session;
mod settings;
mod staleness;
pub mod store;
mod task;
pub mod transfer;
mod updater;
mod view;

pub use audit::Recorder;
pub use command::{Command, CommandOrigin, CommandOutcome, CommandTarget, Registered};
pub use config::{
    ClientsConfig, ConsulConfig, EtcdConfig, InvalidRegistryConfig, MassExpiryConfig, PolicySource,
    RegistryConfig, StoreTlsConfig,
};
pub use error::RegistryError;
pub use event_stream::EventStream;
pub use members::{LiveServers, Membership, ServerId};
pub use query::{Query, WatchQuery};
pub use registry::{Registry, RegistryStatus, open, open_over};
pub use session::AgentSessionId;
pub use settings::{
    SchemaViolation, ServiceSettings, SettingsAction, SettingsChange, SettingsEntry, SettingsError,
    SettingsKey, SettingsOutcome, SettingsProposal, SettingsRecord, SettingsStream,
    SettingsVersionStream, SettingsVersions,
};
pub use staleness::Staleness;
pub use store::StorageBackend;
pub use task::RegistryTask;
pub use view::{Lookup, PreparedAnswer, Stamp};
