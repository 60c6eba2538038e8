//! The settings of services in Consul: a key for each, beside those of the instances, which servers read at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use portolan_consul::{ConsulError, KvEntry, KvTransaction};
use portolan_core::Backoff;
use tokio::sync::broadcast;
use tokio::time::sleep;

use super::{Consul, Shared, unavailable, unavailable_because};
use crate::settings::limits;
use crate::store::remote::settings::{self, RETRY_FIRST, RETRY_LONGEST, deadline, encode};
use crate::store::remote::wait_until_loaded;
use crate::store::settings::{Replaced, SettingsNews, SettingsStore, StoredSettings};
use crate::{RegistryError, SettingsKey, SettingsRecord};

/// How long Consul waits for a change.
const WAIT: Duration = Duration::from_secs(10);
/// How many records are read at the same time.
const CONCURRENT: usize = 8;

impl SettingsStore for Consul {
    fn load<'a>(
        &'a self,
        key: &'a SettingsKey,
    ) -> BoxFuture<'a, Result<StoredSettings, RegistryError>> {
        async move {
            self.shared.wait_until_loaded().await?;
            let entry = self.shared.client.key(&self.shared.keys.settings(key)).await;
            let Some(entry) = entry.map_err(|error| unavailable(&error))? else {
                return Ok(StoredSettings { record: None, token: 0 });
            };
            let record = decode(&entry).map_err(|problem| unavailable_because(&problem))?;
            Ok(StoredSettings { record: Some(Arc::new(record)), token: entry.modify_index })
        }
        .boxed()
    }

    fn replace(
        &self,
        token: u64,
        record: Arc<SettingsRecord>,
    ) -> BoxFuture<'_, Result<Replaced, RegistryError>> {
        async move {
            self.shared.wait_until_loaded().await?;
            let limit = limits::SERVICES;
            // Servers that add some at the same time may exceed it by as many.
            if token == 0 && self.shared.settings_keys().await?.len() >= limit {
                return Ok(Replaced::Full { limit });
            }
            let (key, value) = (self.shared.keys.settings(&record.key), encode(&record));
            let write = KvTransaction::default().write_if(&key, &value, token);
            match self.shared.client.transact(&write).await {
                Ok(Some(_)) => Ok(Replaced::Done),
                Ok(None) => Ok(Replaced::Conflict),
                Err(error) => Err(unavailable(&error)),
            }
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<SettingsRecord>>, RegistryError>> {
        async move {
            self.shared.wait_until_loaded().await?;
            let keys = self.shared.settings_keys().await?;
            let read = |key: String| async move { self.shared.client.key(&key).await };
            let entries = stream::iter(keys).map(read).buffer_unordered(CONCURRENT);
            let entries: Vec<Option<KvEntry>> =
                entries.try_collect().await.map_err(|error| unavailable(&error))?;
            // What cannot be read is reported by `portolan store check`.
            Ok(entries
                .iter()
                .flatten()
                .filter_map(|entry| decode(entry).ok())
                .map(Arc::new)
                .collect())
        }
        .boxed()
    }

    fn news(&self) -> broadcast::Receiver<SettingsNews> {
        self.shared.news.subscribe()
    }
}

// === impl Shared ===

impl Shared {
    /// Nothing is read or written below a prefix that is not known to be a registry's.
    async fn wait_until_loaded(&self) -> Result<(), RegistryError> {
        let mut progress = self.progress.subscribe();
        let loaded = wait_until_loaded(&self.replica, &mut progress, deadline()).await;
        loaded.map_err(|reason| unavailable_because(&reason))
    }

    async fn settings_keys(&self) -> Result<Vec<String>, RegistryError> {
        let keys = self.client.keys(&self.keys.all_settings(), 0, Duration::ZERO).await;
        keys.map(|keys| keys.names).map_err(|error| unavailable(&error))
    }

    /// Tells the watches of settings that something has changed, for ever. Consul does not say what, so they read theirs again.
    pub(super) async fn follow_settings(&self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST).jitter(0.2);
        loop {
            // The blocking query for the instances reports why Consul cannot be reached.
            _ = self.watch_settings(&mut backoff).await;
            sleep(backoff.next_wait()).await;
        }
    }

    async fn watch_settings(&self, backoff: &mut Backoff) -> Result<(), ConsulError> {
        let mut known = 0;
        loop {
            let keys = self.client.keys(&self.keys.all_settings(), known, WAIT).await?;
            backoff.reset();
            // An index that is smaller is that of a Consul that was restored.
            if keys.index != known {
                _ = self.news.send(SettingsNews::Unknown);
            }
            // With the index 0, Consul would not wait.
            known = keys.index.max(1);
        }
    }
}

pub(super) fn decode(entry: &KvEntry) -> Result<SettingsRecord, String> {
    settings::decode(&entry.key, &entry.value().unwrap_or_default())
}
