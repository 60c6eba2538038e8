//! Stores: what commits commands, orders their changes and ends leases.
//!
//! A store is the source of truth, in two halves. [`Store`] commits commands; [`Feed`] hands out
//! what was committed, by this server or another one over the same store, and by the end of leases.
//! The view is built from the feed alone, so that all servers over a store show the same history.
//! Every store passes the suite in `store/suite.rs`.
//!
//! | store | file |
//! | --- | --- |
//! | `memory` | `store/memory.rs` |
//! | `etcd` | `store/etcd.rs`, with the feature `etcd` |
//! | `consul` | `store/consul.rs`, with the feature `consul` |

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use portolan_core::{Remedy, Revision, ServiceEndpoint, ServiceEvent, ServiceId};
use tokio::sync::watch;

use crate::{
    Command, CommandOrigin, CommandOutcome, InvalidRegistryConfig, Membership, Recorder,
    RegistryConfig, RegistryError,
};

mod backend;
pub(crate) mod backlog;
#[cfg(feature = "consul")]
mod consul;
pub(crate) mod decide;
#[cfg(feature = "etcd")]
mod etcd;
mod freshness;
#[cfg(all(fuzzing, feature = "etcd", feature = "consul"))]
pub mod fuzzing;
mod index;
mod inspect;
mod mass_expiry;
mod memory;
pub(crate) mod owner;
mod record;
#[cfg(any(feature = "etcd", feature = "consul"))]
mod remote;
mod settings;

pub use backend::StorageBackend;
pub use freshness::Freshness;
pub use inspect::{InspectError, Inspection, NothingKept, StoreProblem, inspect};
pub use memory::{DataDirError, Memory};
pub use record::StoreRecord;
pub use settings::{Replaced, SettingsNews, SettingsStore, StoredSettings};

/// The stores, one row each.
const STORES: &[StoreKind] = &[
    memory::KIND,
    #[cfg(feature = "etcd")]
    etcd::KIND,
    #[cfg(not(feature = "etcd"))]
    StoreKind::not_built_in("etcd"),
    #[cfg(feature = "consul")]
    consul::KIND,
    #[cfg(not(feature = "consul"))]
    StoreKind::not_built_in("consul"),
    #[cfg(test)]
    toy::KIND,
];

/// The two halves of a store.
pub(crate) type StoreParts = (Arc<dyn Store>, Box<dyn Feed>);

/// Why a store rejects registrations and deregistrations at the moment; `None` while it accepts them.
pub type ReadOnly = watch::Receiver<Option<Arc<str>>>;

/// A row of the table of stores.
pub(crate) struct StoreKind {
    /// The store's name in `service_registry.storage_backend`.
    name: &'static str,
    /// Checks the settings of this store.
    validate: fn(&RegistryConfig) -> Result<(), InvalidRegistryConfig>,
    open: fn(&RegistryConfig) -> Result<StoreParts, OpenError>,
    /// Reads what the store keeps, without writing.
    inspect: inspect::Inspect,
}

/// Why a store cannot be opened. Do not retry: a setting or the directory must change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] InvalidRegistryConfig),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl Remedy for OpenError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Config(error) => error.remedy(),
            Self::DataDir(error) => error.remedy(),
        }
    }
}

/// Commits commands.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The store's name in `service_registry.storage_backend`.
    fn name(&self) -> &'static str;

    /// Commits commands in order, each independently of the others: one that is rejected does not
    /// affect the rest. Must be safe to call concurrently; the caller does not commit two commands
    /// on the same id at the same time. A registration may deregister other instances, at its address, in
    /// the same commit. With each instance the store keeps its owner: the host that registered it.
    fn commit<'a>(
        &'a self,
        commands: &'a [Command],
        origin: &'a CommandOrigin,
    ) -> BoxFuture<'a, Receipt>;

    /// The host that registered an instance, if the store knows it. It decides where a registry checks the instance.
    fn registrant(&self, _id: &ServiceId) -> Option<IpAddr> {
        None
    }

    /// Whether an instance has sent no heartbeat for half of its TTL or longer. It makes no revision: it is asked for when it
    /// is shown. Of several servers only the one that received the registration or its last heartbeat knows. By default it is not
    /// known.
    fn is_heartbeat_late(&self, _id: &ServiceId) -> bool {
        false
    }

    /// The part of the store that keeps the settings of services; `None` if it keeps none.
    fn settings(&self) -> Option<&dyn SettingsStore> {
        None
    }

    /// Whether the store was opened with the state of earlier servers. If not, a registry that has just started
    /// says that its answers are incomplete, until every service had time to register again.
    fn has_former_state(&self) -> bool;

    /// Why the store rejects registrations and deregistrations at the moment, if it does. By default it never does.
    fn read_only(&self) -> ReadOnly {
        watch::channel(None).1
    }

    /// The servers over this store. A server leaves when its store is dropped or its lease ends.
    fn membership(&self) -> Membership;

    /// Maintains the store as long as the server runs, such as by ending leases. Each lease that is
    /// ended here is recorded here, so that it is counted by one server only.
    fn maintain(&self, recorder: Recorder) -> BoxFuture<'_, ()>;

    /// Applies `ttl_default`, `max_endpoints`, `clients.endpoints`, `cleanup_interval` and `mass_expiry`, which change while the
    /// store is open, to what it decides from now on. A limit that is exceeded then removes nothing.
    ///
    /// # Errors
    ///
    /// If one of them is out of bounds. Nothing has changed.
    fn reconfigure(&self, config: &RegistryConfig) -> Result<(), InvalidRegistryConfig>;

    /// Leaves the other servers over this store, so that they need not wait until its lease ends. Called once,
    /// after [`maintain`](Self::maintain) has ended; cut off if it takes long.
    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The ordered stream of what a store has committed.
pub trait Feed: fmt::Debug + Send + 'static {
    /// Waits for the next update. The first one begins with a [`Committed::Reset`], and so does the
    /// first one after an error unless the feed resumes exactly where it stopped. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`FeedLost`] if the store cannot be reached. The next call reconnects.
    fn next(&mut self) -> BoxFuture<'_, Result<Update, FeedLost>>;

    /// How current this feed is. By default always: a store in this process commits and feeds in one step. A store over a
    /// network overrides it, and confirms at least every second, or its view counts as stale.
    fn freshness(&self) -> Freshness {
        Freshness::in_process()
    }
}

/// The result of a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The outcome of each command.
    pub outcomes: Vec<Result<CommandOutcome, RegistryError>>,
    /// The index that the feed has reached once everything committed here has come out of it.
    pub index: u64,
}

/// A part of the feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What was committed, in order.
    pub committed: Vec<Committed>,
    /// The index that the feed has reached with it. Only grows.
    pub index: u64,
}

/// Something that a store has committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// The whole state: at the start, and if the changes since the last update are not known.
    Reset {
        /// Every instance.
        endpoints: Vec<Arc<ServiceEndpoint>>,
        /// The revision of this state.
        revision: Revision,
        /// The changes up to this state, if they are known.
        history: Option<History>,
    },
    /// A change, with a revision.
    Changed(Arc<ServiceEvent>),
    /// An instance that was renewed without a change: a heartbeat, or another reason for the same
    /// health.
    Renewed(Arc<ServiceEndpoint>),
}

/// The changes before a reset, from which watches can resume.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The revision after which no change is missing.
    pub since: Revision,
    /// The changes after it, in order.
    pub events: Vec<Arc<ServiceEvent>>,
    /// Ranges of revisions, without their ends, in which changes were lost. A watch that has seen one of these
    /// revisions gets a snapshot.
    pub gaps: Vec<(Revision, Revision)>,
}

/// The feed of a store is lost, and the view may be stale.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("lost the feed of the store {store}: {reason}")]
pub struct FeedLost {
    /// The store.
    pub store: &'static str,
    /// Why.
    pub reason: String,
}

/// Opens the store that the settings select.
pub(crate) fn open(config: &RegistryConfig) -> Result<StoreParts, OpenError> {
    config.validate()?;
    (config.storage_backend.kind().open)(config)
}

// === impl StoreKind ===

impl StoreKind {
    /// The row of a store that a Cargo feature adds, without the feature.
    #[cfg(not(all(feature = "etcd", feature = "consul")))]
    const fn not_built_in(name: &'static str) -> Self {
        fn refused(config: &RegistryConfig) -> InvalidRegistryConfig {
            InvalidRegistryConfig::Backend(config.storage_backend.as_str())
        }
        Self {
            name,
            validate: |config| Err(refused(config)),
            open: |config| Err(refused(config).into()),
            inspect: |config| Box::pin(async { Err(refused(config).into()) }),
        }
    }

    /// Checks the settings of this store.
    pub(crate) fn validate(&self, config: &RegistryConfig) -> Result<(), InvalidRegistryConfig> {
        (self.validate)(config)
    }
}

#[cfg(test)]
pub(crate) mod delayed;
#[cfg(test)]
pub(crate) mod suite;
#[cfg(test)]
mod toy;
