//! Follows the versions of all settings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use super::SettingsError;
use super::handle::ServiceSettings;
use super::record::SettingsKey;
use crate::RegistryError;
use crate::store::SettingsNews;

/// The wait before a store is read again that could not be read, or that does not say what has changed.
const AGAIN: Duration = Duration::from_secs(1);

/// The newest version of each service that has, or had, settings.
pub type SettingsVersions = Arc<HashMap<SettingsKey, u64>>;

/// The versions as they change.
#[derive(Debug)]
pub struct SettingsVersionStream {
    settings: ServiceSettings,
    news: Receiver<SettingsNews>,
    versions: SettingsVersions,
    /// Whether the store has to be read: at first, and because news were missed.
    behind: bool,
}

// === impl SettingsVersionStream ===

impl SettingsVersionStream {
    pub(super) fn new(settings: ServiceSettings, news: Receiver<SettingsNews>) -> Self {
        Self { settings, news, versions: SettingsVersions::default(), behind: true }
    }

    /// Waits for a change; the first one is that of now. Cancel-safe. Ends with the registry.
    pub async fn next(&mut self) -> Option<SettingsVersions> {
        loop {
            if self.behind {
                match self.settings.list().await {
                    Ok(all) => {
                        let version = |record: &Arc<super::SettingsRecord>| {
                            (record.key.clone(), record.version())
                        };
                        self.versions = Arc::new(all.iter().map(version).collect());
                        self.behind = false;
                        return Some(Arc::clone(&self.versions));
                    }
                    Err(SettingsError::Store(RegistryError::Closed)) => return None,
                    Err(_) => {
                        sleep(AGAIN).await;
                        continue;
                    }
                }
            }
            match self.news.recv().await {
                Ok(SettingsNews::Changed(record)) => {
                    let versions = Arc::make_mut(&mut self.versions);
                    versions.insert(record.key.clone(), record.version());
                    return Some(Arc::clone(&self.versions));
                }
                Ok(SettingsNews::Unknown) | Err(RecvError::Lagged(_)) => {
                    self.behind = true;
                    // Several changes are read at once.
                    sleep(AGAIN).await;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
