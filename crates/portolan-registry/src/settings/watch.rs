//! Follows the settings of a service.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::SettingsError;
use super::handle::ServiceSettings;
use super::record::{SettingsKey, SettingsRecord};
use crate::RegistryError;
use crate::store::SettingsNews;

/// The wait before a store that could not be read is read again.
const RETRY: Duration = Duration::from_secs(1);

/// The settings of a service as they change.
#[derive(Debug)]
pub struct SettingsStream {
    settings: ServiceSettings,
    key: SettingsKey,
    news: Receiver<SettingsNews>,
    /// The version that was handed out last; `None` before the first one.
    seen: Option<u64>,
    /// Whether the store has to be read, because news were missed.
    behind: bool,
}

// === impl SettingsStream ===

impl SettingsStream {
    pub(super) fn new(
        settings: ServiceSettings,
        key: SettingsKey,
        news: Receiver<SettingsNews>,
    ) -> Self {
        Self { settings, key, news, seen: None, behind: true }
    }

    /// Leaves out versions up to this one, which the caller has already.
    #[must_use]
    pub fn after(self, version: Option<u64>) -> Self {
        Self { seen: version, ..self }
    }

    /// Waits for a version that was not handed out yet; the first one is that of now, `None` if the service never had
    /// settings. Cancel-safe. Ends with the registry.
    pub async fn next(&mut self) -> Option<Option<Arc<SettingsRecord>>> {
        loop {
            if self.behind {
                match self.settings.get(&self.key).await {
                    Ok(record) => {
                        self.behind = false;
                        if let Some(record) = self.take(record) {
                            return Some(record);
                        }
                    }
                    Err(SettingsError::Store(RegistryError::Closed)) => return None,
                    Err(_) => {
                        sleep(RETRY).await;
                        continue;
                    }
                }
            }
            match self.news.recv().await {
                Ok(SettingsNews::Changed(record)) if record.key == self.key => {
                    if let Some(record) = self.take(Some(record)) {
                        return Some(record);
                    }
                }
                Ok(SettingsNews::Changed(_)) => {}
                Ok(SettingsNews::Unknown) | Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Returns what is newer than what was handed out. A smaller version than before is of a store that was restored.
    fn take(&mut self, record: Option<Arc<SettingsRecord>>) -> Option<Option<Arc<SettingsRecord>>> {
        let version = record.as_ref().map_or(0, |record| record.version());
        (self.seen.replace(version) != Some(version)).then_some(record)
    }
}
