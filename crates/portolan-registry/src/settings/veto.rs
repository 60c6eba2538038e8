//! Functions of the program that see a change of settings before it is made, and may refuse it.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use super::SettingsError;
use super::record::SettingsKey;

/// A change of the settings of a service that is about to be made. It meets the schema.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SettingsProposal<'a> {
    /// Whose settings.
    pub key: &'a SettingsKey,
    /// The settings in force; `None` if there are none.
    pub old: Option<&'a Value>,
    /// The new settings; `None` if they are to be deleted.
    pub new: Option<&'a Value>,
    /// The identity that asks for it; `anyone` if the registry requires none.
    pub author: &'a str,
}

type Callback = Arc<dyn Fn(&SettingsProposal<'_>) -> Result<(), String> + Send + Sync>;

/// The functions that are asked; clones share them.
#[derive(Clone, Default)]
pub(crate) struct SettingsCallbacks(Arc<RwLock<Vec<(String, Callback)>>>);

// === impl SettingsCallbacks ===

impl SettingsCallbacks {
    pub(super) fn add(
        &self,
        by: String,
        callback: impl Fn(&SettingsProposal<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.0.write().push((by, Arc::new(callback)));
    }

    /// Asks each function whether it agrees.
    pub(super) fn ask(&self, proposal: &SettingsProposal<'_>) -> Result<(), SettingsError> {
        // Without the lock: a function may add another one.
        let callbacks = self.0.read().clone();
        callbacks.into_iter().try_for_each(|(by, callback)| {
            let key = proposal.key.clone();
            callback(proposal).map_err(|reason| SettingsError::Veto { key, by, reason })
        })
    }
}

impl fmt::Debug for SettingsCallbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let callbacks = self.0.read();
        f.debug_list().entries(callbacks.iter().map(|(by, _)| by)).finish()
    }
}
