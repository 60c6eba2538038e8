//! Type-erased access to a `ConfigManager`, for the HTTP API.

use serde::Serialize;
use serde_json::Value;

use super::{Applied, Author, ChangeRefused, ConfigManager, HistoryEntry, Lock};
use crate::{LoadableSettings, Setting};

/// The settings in force, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfigDocument {
    /// The version.
    pub version: u64,
    /// Every setting with its origin, secrets masked.
    pub settings: Vec<Setting>,
    /// Who keeps them from changing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// Why the files as they are now are not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a client with the right to do so can do with the settings of a process. The functions block, because they read files.
pub trait ConfigControl: Send + Sync {
    /// Returns the settings in force.
    fn document(&self) -> ConfigDocument;
    /// See [`ConfigManager::patch`].
    ///
    /// # Errors
    /// The change is refused as a whole.
    fn patch(
        &self,
        patch: &Value,
        expected: Option<u64>,
        author: Author,
    ) -> Result<Applied, ChangeRefused>;
    /// See [`ConfigManager::history`].
    fn history(&self) -> Vec<HistoryEntry>;
    /// See [`ConfigManager::lock`].
    ///
    /// # Errors
    /// Another holder has the lock.
    fn lock(&self, holder: &str, reason: &str) -> Result<Lock, ChangeRefused>;
    /// Removes the lock, and loads the files, which may have changed meanwhile.
    ///
    /// # Errors
    /// There is no lock.
    fn unlock(&self) -> Result<Lock, ChangeRefused>;
}

impl<T: LoadableSettings + Send + Sync> ConfigControl for ConfigManager<T> {
    fn document(&self) -> ConfigDocument {
        let current = self.current();
        ConfigDocument {
            version: current.number,
            settings: current.loaded.settings().unwrap_or_default(),
            lock: self.locked(),
            refused: self.refused(),
        }
    }

    fn patch(
        &self,
        patch: &Value,
        expected: Option<u64>,
        author: Author,
    ) -> Result<Applied, ChangeRefused> {
        self.patch(patch, expected, author)
    }

    fn history(&self) -> Vec<HistoryEntry> {
        self.history()
    }

    fn lock(&self, holder: &str, reason: &str) -> Result<Lock, ChangeRefused> {
        self.lock(holder, reason)
    }

    fn unlock(&self) -> Result<Lock, ChangeRefused> {
        let lock = self.unlock()?;
        // What is refused is in the document.
        _ = self.reload(Author::File);
        Ok(lock)
    }
}
