//! The settings of services in etcd: a key for each, without a lease.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::Backoff;
use portolan_etcd::{EtcdError, EtcdEvent, KeyRange, KeyValue, Transaction, WatchItem};
use tokio::sync::broadcast;
use tokio::time::sleep;

use super::pages::read_all;
use super::{Etcd, Shared, unavailable, unavailable_because};
use crate::settings::limits;
use crate::store::remote::settings::{self, RETRY_FIRST, RETRY_LONGEST, deadline, encode};
use crate::store::remote::wait_until_loaded;
use crate::store::settings::{Replaced, SettingsNews, SettingsStore, StoredSettings};
use crate::{RegistryError, SettingsKey, SettingsRecord};

impl SettingsStore for Etcd {
    fn load<'a>(
        &'a self,
        key: &'a SettingsKey,
    ) -> BoxFuture<'a, Result<StoredSettings, RegistryError>> {
        async move {
            self.shared.wait_until_loaded().await?;
            let range = KeyRange::key(&self.shared.keys.settings(key));
            let page = self.shared.client.range(&range, 1, 0).await;
            let page = page.map_err(|error| unavailable(&error))?;
            let Some(kv) = page.keys.first() else {
                return Ok(StoredSettings { record: None, token: 0 });
            };
            let record = decode(kv).map_err(|problem| unavailable_because(&problem))?;
            let token = u64::try_from(kv.mod_revision).unwrap_or_default();
            Ok(StoredSettings { record: Some(Arc::new(record)), token })
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
            if token == 0 && self.list().await?.len() >= limit {
                return Ok(Replaced::Full { limit });
            }
            let key = self.shared.keys.settings(&record.key);
            let revision = i64::try_from(token).unwrap_or(i64::MAX);
            let write = Transaction::default().if_unchanged(&key, revision);
            let write = write.put(key, encode(&record), None);
            match self.shared.client.transact(write).await {
                Ok(result) if result.succeeded => Ok(Replaced::Done),
                Ok(_) => Ok(Replaced::Conflict),
                Err(error) => Err(unavailable(&error)),
            }
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<SettingsRecord>>, RegistryError>> {
        async move {
            self.shared.wait_until_loaded().await?;
            let all = read_all(&self.shared.client, self.shared.keys.all_settings()).await;
            let (all, _) = all.map_err(|error| unavailable(&error))?;
            // What cannot be read is reported by `portolan store check`.
            Ok(all.iter().filter_map(|kv| decode(kv).ok()).map(Arc::new).collect())
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

    /// Tells the watches of settings what changes, for ever.
    pub(super) async fn follow_settings(&self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST).jitter(0.2);
        loop {
            // The watch of the instances reports why etcd cannot be reached.
            _ = self.watch_settings(&mut backoff).await;
            sleep(backoff.next_wait()).await;
        }
    }

    async fn watch_settings(&self, backoff: &mut Backoff) -> Result<(), EtcdError> {
        let mut failovers = self.client.failovers();
        let range = self.keys.all_settings();
        let page = self.client.range(&KeyRange::key(&self.keys.format()), 1, 0).await?;
        let mut watch = self.client.watch(&range, page.revision + 1).await?;
        // Changes made before the watch began are not reported by it: the watchers read the store again.
        _ = self.news.send(SettingsNews::Unknown);
        backoff.reset();
        loop {
            let item = tokio::select! {
                item = watch.next() => item?,
                _ = failovers.changed() => return Ok(()),
            };
            let WatchItem::Batch(batch) = item else { continue };
            for event in batch.events {
                let news = match event {
                    EtcdEvent::Put(kv) => decode(&kv).ok(),
                    EtcdEvent::Deleted(_) => None,
                };
                let news = news.map(|record| SettingsNews::Changed(Arc::new(record)));
                _ = self.news.send(news.unwrap_or(SettingsNews::Unknown));
            }
        }
    }
}

pub(super) fn decode(kv: &KeyValue) -> Result<SettingsRecord, String> {
    settings::decode(&String::from_utf8_lossy(&kv.key), &kv.value)
}
