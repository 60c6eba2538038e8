//! The settings of services: a JSON object for each service of a scope, with versions.
//!
//! They are kept in the registry's store, one record for each service ([`SettingsRecord`]) with its earlier versions and its
//! JSON Schema. A change is decided on a record ([`SettingsRecord::changed`]) and stored by compare-and-set, so that
//! none is lost and none takes effect in part. `docs/settings.md` describes it for people.

mod audit;
mod change;
mod error;
mod handle;
pub(crate) mod limits;
mod record;
mod schema;
mod versions;
mod veto;
mod watch;

pub use change::SettingsChange;
pub use error::{SchemaViolation, SettingsError};
pub use handle::{ServiceSettings, SettingsOutcome};
pub use record::{SettingsAction, SettingsEntry, SettingsKey, SettingsRecord};
pub use versions::{SettingsVersionStream, SettingsVersions};
pub(crate) use veto::SettingsCallbacks;
pub use veto::SettingsProposal;
pub use watch::SettingsStream;
