//! The part of a store that keeps the settings of services.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

use crate::{RegistryError, SettingsKey, SettingsRecord};

/// How many news a watch may be behind; one that falls behind further reads the store again.
pub(crate) const NEWS: usize = 64;

/// Keeps a record for each service, and replaces it by compare-and-set.
pub trait SettingsStore: fmt::Debug + Send + Sync {
    /// Reads a record; every change that was answered before is in it.
    fn load<'a>(
        &'a self,
        key: &'a SettingsKey,
    ) -> BoxFuture<'a, Result<StoredSettings, RegistryError>>;

    /// Stores a record if the one of its service is still what was read with this token.
    fn replace(
        &self,
        token: u64,
        record: Arc<SettingsRecord>,
    ) -> BoxFuture<'_, Result<Replaced, RegistryError>>;

    /// Reads all records, in any order.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<SettingsRecord>>, RegistryError>>;

    /// The changes from now on.
    fn news(&self) -> broadcast::Receiver<SettingsNews>;
}

/// A record, and what tells it from others of the service.
#[derive(Debug, Clone)]
pub struct StoredSettings {
    /// The record; `None` if there is none.
    pub record: Option<Arc<SettingsRecord>>,
    /// Changes with the record; 0 if there is none.
    pub token: u64,
}

/// The result of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The record is stored.
    Done,
    /// Another one was stored meanwhile. Nothing has changed.
    Conflict,
    /// As many services have settings as can have. Nothing has changed.
    Full {
        /// The limit.
        limit: usize,
    },
}

/// What watches are told.
#[derive(Debug, Clone)]
pub enum SettingsNews {
    /// A record was stored.
    Changed(Arc<SettingsRecord>),
    /// Changes may have been missed.
    Unknown,
}
