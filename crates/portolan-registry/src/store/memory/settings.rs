//! The settings of services in the store `memory`.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{broadcast, oneshot};

use super::Memory;
use super::journal::record::Record;
use super::outbox::{Ack, Durability, Outbox};
use super::state::State;
use crate::settings::limits;
use crate::store::settings::{NEWS, Replaced, SettingsNews, SettingsStore, StoredSettings};
use crate::{RegistryError, SettingsKey, SettingsRecord};

/// Records by their service.
pub(super) type Records = BTreeMap<SettingsKey, Arc<SettingsRecord>>;

/// The records, with those that are not final yet.
#[derive(Debug)]
pub(super) struct SettingsState {
    /// As decided last, on which the next change is decided.
    latest: Records,
    /// What is final, which is all that is shown.
    durable: Records,
    news: broadcast::Sender<SettingsNews>,
}

impl SettingsStore for Memory {
    fn load<'a>(
        &'a self,
        key: &'a SettingsKey,
    ) -> BoxFuture<'a, Result<StoredSettings, RegistryError>> {
        let record = self.shared.state.lock().settings.durable.get(key).cloned();
        let token = record.as_ref().map_or(0, |record| record.version());
        std::future::ready(Ok(StoredSettings { record, token })).boxed()
    }

    fn replace(
        &self,
        token: u64,
        record: Arc<SettingsRecord>,
    ) -> BoxFuture<'_, Result<Replaced, RegistryError>> {
        async move {
            let (ack, acked) = oneshot::channel();
            let (replaced, ack) =
                self.shared.change(|state| state.replace_settings(token, &record, ack))?;
            match ack {
                Some(_) => Ok(replaced),
                // A conflict waits too: what it is in conflict with is shown after that.
                None => match acked.await.unwrap_or(Err(RegistryError::Closed)) {
                    Ok(()) => Ok(replaced),
                    Err(error) => Err(error),
                },
            }
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Arc<SettingsRecord>>, RegistryError>> {
        let all = self.shared.state.lock().settings.durable.values().cloned().collect();
        std::future::ready(Ok(all)).boxed()
    }

    fn news(&self) -> broadcast::Receiver<SettingsNews> {
        self.shared.state.lock().settings.news.subscribe()
    }
}

// === impl State ===

impl State {
    /// Replaces a record if it still has this version. Gives the ack back if the result is final already.
    fn replace_settings(
        &mut self,
        token: u64,
        record: &Arc<SettingsRecord>,
        ack: Ack,
    ) -> Result<(Replaced, Option<Ack>), RegistryError> {
        self.outbox().check_writable()?;
        let known = self.settings.latest.get(&record.key).map_or(0, |known| known.version());
        if known != token {
            return Ok((Replaced::Conflict, wait(self.outbox(), ack)));
        }
        if known == 0 && self.settings.latest.len() >= limits::SERVICES {
            let full = Replaced::Full { limit: limits::SERVICES };
            return Ok((full, wait(self.outbox(), ack)));
        }
        self.settings.latest.insert(record.key.clone(), Arc::clone(record));
        self.outbox().push(|| Record::Settings(Arc::clone(record)));
        let ack = wait(self.outbox(), ack);
        if ack.is_some() {
            self.settings.confirm(record);
        }
        Ok((Replaced::Done, ack))
    }
}

/// Registers a caller that waits for everything so far; gives it back if that is final at once.
fn wait(outbox: &mut Outbox, ack: Ack) -> Option<Ack> {
    if outbox.durability != Durability::Journal {
        return Some(ack);
    }
    outbox.pending.acks.push(ack);
    None
}

// === impl SettingsState ===

impl SettingsState {
    pub(super) fn new() -> Self {
        let news = broadcast::Sender::new(NEWS);
        Self { latest: Records::new(), durable: Records::new(), news }
    }

    pub(super) fn restore(&mut self, records: Records) {
        (self.latest, self.durable) = (records.clone(), records);
    }

    /// The record is final.
    fn confirm(&mut self, record: &Arc<SettingsRecord>) {
        self.durable.insert(record.key.clone(), Arc::clone(record));
        // Nobody may be watching.
        _ = self.news.send(SettingsNews::Changed(Arc::clone(record)));
    }

    /// The records of a batch are final.
    pub(super) fn confirm_all(&mut self, records: &[Record]) {
        for record in records {
            if let Record::Settings(record) = record {
                self.confirm(record);
            }
        }
    }

    /// Undoes what is not final.
    pub(super) fn revert(&mut self) {
        self.latest.clone_from(&self.durable);
    }

    /// All records, with those that the journal is about to get.
    pub(super) fn latest(&self) -> Vec<Arc<SettingsRecord>> {
        self.latest.values().cloned().collect()
    }
}
