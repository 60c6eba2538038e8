//! Tells agents the version of the settings of their service, so that they announce it.

use portolan_registry::{Registry, SettingsKey, SettingsVersions};
use tokio::sync::watch;

/// The version of the settings of one service, as it changes.
#[derive(Debug)]
pub(super) struct FollowedVersion {
    versions: watch::Receiver<SettingsVersions>,
    /// What the agent was told.
    told: Option<u64>,
}

/// Publishes the versions of all settings until the registry ends; for ever if its store keeps none.
pub(super) async fn publish(registry: &Registry, versions: &watch::Sender<SettingsVersions>) {
    let Ok(mut stream) = registry.settings().versions() else {
        return std::future::pending().await;
    };
    while let Some(newest) = stream.next().await {
        versions.send_replace(newest);
    }
}

// === impl FollowedVersion ===

impl FollowedVersion {
    pub(super) fn new(versions: watch::Receiver<SettingsVersions>) -> Self {
        Self { versions, told: None }
    }

    /// Returns the version, if the agent has not been told.
    pub(super) fn news(&mut self, key: &SettingsKey) -> Option<u64> {
        let version = self.versions.borrow_and_update().get(key).copied()?;
        (self.told.replace(version) != Some(version)).then_some(version)
    }

    /// Waits until there is a version that the agent has not been told. Cancel-safe.
    pub(super) async fn changed(&mut self, key: &SettingsKey) {
        let told = self.told;
        let is_news = |versions: &SettingsVersions| {
            versions.get(key).is_some_and(|version| Some(*version) != told)
        };
        if self.versions.wait_for(is_news).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
