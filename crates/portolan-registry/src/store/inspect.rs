//! Reads everything that a store keeps, without becoming a server and without writing.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use portolan_core::{Remedy, Revision};

use super::record::StoreRecord;
use super::{DataDirError, StorageBackend};
use crate::{InvalidRegistryConfig, RegistryConfig, SettingsRecord};

/// What a store keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The store, by its name in `service_registry.storage_backend`.
    pub store: &'static str,
    /// Where it is: a directory, or addresses and a prefix.
    pub location: String,
    /// The revision of the last change.
    pub revision: Revision,
    /// The instances, ordered by id.
    pub records: Vec<StoreRecord>,
    /// The settings of services, ordered by scope and name.
    pub settings: Vec<Arc<SettingsRecord>>,
    /// The servers that use the store at the moment, such as `process 4711`.
    pub servers: Vec<String>,
    /// What is wrong with it.
    pub problems: Vec<StoreProblem>,
}

/// Something that is wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoreProblem {
    /// Whether an instance is lost or damaged. If not, the servers deal with it.
    pub is_damage: bool,
    /// The file or key.
    pub place: String,
    /// What is wrong.
    pub problem: String,
    /// What happens to it, or what to do.
    pub remedy: String,
}

// === impl StoreProblem ===

impl StoreProblem {
    /// Something by which an instance is lost or damaged.
    pub(crate) fn damage(place: String, problem: String, remedy: &str) -> Self {
        Self { is_damage: true, place, problem, remedy: remedy.to_owned() }
    }

    /// The value of an instance's key that cannot be read.
    #[cfg(any(feature = "etcd", feature = "consul"))]
    pub(crate) fn unreadable(place: String, problem: String) -> Self {
        Self::damage(place, problem, "servers ignore it until its service registers again")
    }

    /// A key that this version does not know.
    #[cfg(any(feature = "etcd", feature = "consul"))]
    pub(crate) fn unknown_key(place: String) -> Self {
        let problem = "this version does not know the key".to_owned();
        let remedy = "servers ignore it; delete it if it is not of a newer version".to_owned();
        Self { is_damage: false, place, problem, remedy }
    }
}

/// `data_dir` is not set, so that the store `memory` keeps nothing. Do not retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store memory keeps nothing: service_registry.data_dir is not set")]
pub struct NothingKept;

impl NothingKept {
    /// Checks that something outlives the server's process.
    pub(crate) fn check(config: &RegistryConfig) -> Result<(), Self> {
        let is_kept = config.storage_backend != StorageBackend::MEMORY || config.data_dir.is_some();
        if is_kept { Ok(()) } else { Err(Self) }
    }
}

impl Remedy for NothingKept {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(
            "set service_registry.data_dir to the directory of the server, or \
             service_registry.storage_backend to its store"
                .into(),
        )
    }
}

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] InvalidRegistryConfig),
    /// The store is only in the process of its server.
    #[error(transparent)]
    NothingKept(#[from] NothingKept),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store cannot be reached. Retry later.
    #[error("the store {store} is unreachable: {reason}")]
    Unreachable {
        /// The store.
        store: &'static str,
        /// Why.
        reason: String,
        /// What resolves it.
        remedy: Option<String>,
    },
    /// The store was reached and cannot be used with these settings. Do not retry.
    #[error("the store {store} cannot be used: {reason}")]
    Unusable {
        /// The store.
        store: &'static str,
        /// Why.
        reason: String,
        /// What resolves it.
        remedy: Option<String>,
    },
}

/// Reads the store that the settings select. Servers over it do not notice.
///
/// # Errors
///
/// If a setting is invalid, or the store cannot be read. Damage of a part of a store is not an error but a
/// [`StoreProblem`], if the rest can be read.
pub async fn inspect(config: &RegistryConfig) -> Result<Inspection, InspectError> {
    config.validate()?;
    let mut inspection = (config.storage_backend.kind().inspect)(config).await?;
    inspection.records.sort_unstable_by(|a, b| a.endpoint.id.cmp(&b.endpoint.id));
    inspection.settings.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    inspection.check_records();
    inspection.check_settings();
    Ok(inspection)
}

/// What [`inspect`] calls for a store.
pub(crate) type Inspect =
    for<'a> fn(&'a RegistryConfig) -> BoxFuture<'a, Result<Inspection, InspectError>>;

// === impl Inspection ===

impl Inspection {
    /// Moves the records that no registration could have made to the problems.
    fn check_records(&mut self) {
        let problems = &mut self.problems;
        self.records.retain(|record| {
            let invalid = record.validate().err();
            problems.extend(invalid.iter().map(|invalid| {
                let place = record.endpoint.id.to_string();
                let remedy = "deregister it, or let its service register again";
                StoreProblem::damage(place, invalid.to_string(), remedy)
            }));
            invalid.is_none()
        });
    }
}

impl Inspection {
    /// Moves the settings that no change could have made to the problems.
    fn check_settings(&mut self) {
        let problems = &mut self.problems;
        self.settings.retain(|record| {
            let invalid = record.validate().err();
            problems.extend(invalid.iter().map(|invalid| {
                let place = format!("the settings of {}", record.key);
                StoreProblem::damage(place, invalid.to_string(), "set them again")
            }));
            invalid.is_none()
        });
    }
}

// === impl InspectError ===

impl Remedy for InspectError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Config(error) => error.remedy(),
            Self::DataDir(error) => error.remedy(),
            Self::NothingKept(error) => error.remedy(),
            Self::Unreachable { remedy, .. } | Self::Unusable { remedy, .. } => {
                remedy.clone().map(Into::into)
            }
        }
    }
}
