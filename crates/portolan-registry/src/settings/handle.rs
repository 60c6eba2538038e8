//! The handle through which settings of services are read and changed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use portolan_access::{Grants, Right};
use tokio::time::{Instant, sleep, timeout_at};

use super::record::{SettingsKey, SettingsRecord};
use super::versions::SettingsVersionStream;
use super::veto::{SettingsCallbacks, SettingsProposal};
use super::watch::SettingsStream;
use super::{SettingsChange, SettingsError, audit, schema};
use crate::store::{Replaced, SettingsStore, Store};
use crate::{CommandOrigin, RegistryError};

/// The deadline of a read or a change, with all attempts.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The wait before a change is decided again, because another one came first.
const AGAIN: Duration = Duration::from_millis(2);

/// The settings of services, in the store of a registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The store itself, which ends with the task of the registry.
    store: Weak<dyn Store>,
    name: &'static str,
    callbacks: SettingsCallbacks,
}

/// The outcome of a change.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingsOutcome {
    /// The settings with their versions.
    pub record: Arc<SettingsRecord>,
    /// Whether there is a new version; if not, the settings were already as requested.
    pub changed: bool,
}

// === impl ServiceSettings ===

impl ServiceSettings {
    pub(crate) fn new(store: Weak<dyn Store>, name: &'static str) -> Self {
        Self { store, name, callbacks: SettingsCallbacks::default() }
    }

    pub(crate) fn asking(self, callbacks: SettingsCallbacks) -> Self {
        Self { callbacks, ..self }
    }

    /// Adds a function that sees each change by this server before it is made, and may refuse it with a reason. It is called again if
    /// another change came first, so it must have no effect of its own; and it must not block, because others wait for it. Changes
    /// by other servers over the same store, and imports, are not shown to it.
    pub fn on_change(
        &self,
        by: impl Into<String>,
        callback: impl Fn(&SettingsProposal<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.callbacks.add(by.into(), callback);
    }

    /// Returns the settings of a service with their versions; `None` if it never had any.
    ///
    /// # Errors
    ///
    /// If the store keeps none, or cannot be reached.
    pub async fn get(
        &self,
        key: &SettingsKey,
    ) -> Result<Option<Arc<SettingsRecord>>, SettingsError> {
        let store = self.store()?;
        let settings = self.of(&*store)?;
        Ok(within(Instant::now() + ANSWER_WITHIN, settings.load(key)).await?.record)
    }

    /// Returns all of them, ordered by scope and name.
    ///
    /// # Errors
    ///
    /// If the store keeps none, or cannot be reached.
    pub async fn list(&self) -> Result<Vec<Arc<SettingsRecord>>, SettingsError> {
        let store = self.store()?;
        let settings = self.of(&*store)?;
        let mut all = within(Instant::now() + ANSWER_WITHIN, settings.list()).await?;
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    /// Changes the settings of a service, if the origin may. With `expected` the change is made only if that is the newest
    /// version, 0 if there is none; without, it is made on whatever is the newest one.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]: nothing has changed, unless the store did not answer in time.
    pub async fn change(
        &self,
        key: &SettingsKey,
        change: SettingsChange,
        expected: Option<u64>,
        origin: &CommandOrigin,
    ) -> Result<SettingsOutcome, SettingsError> {
        let author = origin.grants().map_or("anyone", Grants::identity).to_owned();
        let action = change.action();
        let may = origin
            .grants()
            .map_or(Ok(()), |grants| grants.check(Right::Configure, &key.scope, &key.name));
        let changed = match may {
            Ok(()) => self.change_permitted(key, change, expected, author).await,
            Err(denied) => Err(denied.into()),
        };
        match &changed {
            Ok(outcome) if outcome.changed => audit::changed(&outcome.record),
            Ok(_) => {}
            Err(error) => audit::refused(key, action, error),
        }
        changed
    }

    /// Stores a record of another store, with its versions. What the store has is never replaced: returns whether it had
    /// none.
    ///
    /// # Errors
    ///
    /// As for [`Self::change`].
    pub async fn import(&self, record: SettingsRecord) -> Result<bool, SettingsError> {
        record.validate()?;
        let store = self.store()?;
        let settings = self.of(&*store)?;
        let until = Instant::now() + ANSWER_WITHIN;
        let record = Arc::new(record);
        match within(until, settings.replace(0, Arc::clone(&record))).await? {
            Replaced::Done => {
                audit::imported(&record);
                Ok(true)
            }
            Replaced::Conflict => Ok(false),
            Replaced::Full { limit } => Err(SettingsError::Full { limit }),
        }
    }

    /// Follows the settings of a service: what they are, and then each newer version that it gets hold of. Versions that
    /// follow each other quickly may be left out; the newest one is not.
    ///
    /// # Errors
    ///
    /// If the store keeps none.
    pub fn watch(&self, key: SettingsKey) -> Result<SettingsStream, SettingsError> {
        let store = self.store()?;
        let news = self.of(&*store)?.news();
        Ok(SettingsStream::new(self.clone(), key, news))
    }

    /// Follows the newest version of every service.
    ///
    /// # Errors
    ///
    /// If the store keeps none.
    pub fn versions(&self) -> Result<SettingsVersionStream, SettingsError> {
        let store = self.store()?;
        let news = self.of(&*store)?.news();
        Ok(SettingsVersionStream::new(self.clone(), news))
    }

    async fn change_permitted(
        &self,
        key: &SettingsKey,
        change: SettingsChange,
        expected: Option<u64>,
        author: String,
    ) -> Result<SettingsOutcome, SettingsError> {
        let store = self.store()?;
        let settings = self.of(&*store)?;
        let until = Instant::now() + ANSWER_WITHIN;
        let change = Arc::new(change);
        loop {
            let stored = within(until, settings.load(key)).await?;
            let known = stored.record.clone();
            let decided = Decision {
                known: known.clone(),
                key: key.clone(),
                change: Arc::clone(&change),
                expected,
                author: author.clone(),
                callbacks: self.callbacks.clone(),
            };
            let Some(record) = decided.made().await? else {
                let record = known.ok_or_else(|| SettingsError::Unknown { key: key.clone() })?;
                return Ok(SettingsOutcome { record, changed: false });
            };
            let record = Arc::new(record);
            match within(until, settings.replace(stored.token, Arc::clone(&record))).await? {
                Replaced::Done => return Ok(SettingsOutcome { record, changed: true }),
                Replaced::Full { limit } => return Err(SettingsError::Full { limit }),
                // Others may go on meanwhile; with `expected` the next attempt finds that it is not met.
                Replaced::Conflict if Instant::now() < until => sleep(AGAIN).await,
                Replaced::Conflict => return Err(RegistryError::Busy(ANSWER_WITHIN).into()),
            }
        }
    }

    fn store(&self) -> Result<Arc<dyn Store>, SettingsError> {
        self.store.upgrade().ok_or_else(|| RegistryError::Closed.into())
    }

    fn of<'a>(&self, store: &'a dyn Store) -> Result<&'a dyn SettingsStore, SettingsError> {
        store.settings().ok_or(SettingsError::NotKept { store: self.name })
    }
}

/// What a change is decided on.
struct Decision {
    known: Option<Arc<SettingsRecord>>,
    key: SettingsKey,
    change: Arc<SettingsChange>,
    expected: Option<u64>,
    author: String,
    callbacks: SettingsCallbacks,
}

impl Decision {
    /// Decides, off the runtime's threads if there is a schema: validation may take long.
    async fn made(self) -> Result<Option<SettingsRecord>, SettingsError> {
        let has_schema = self.known.as_ref().is_some_and(|known| known.schema.is_some())
            || matches!(*self.change, SettingsChange::Schema(Some(_)));
        if !has_schema {
            return self.decide();
        }
        schema::in_turn(move || self.decide()).await
    }

    fn decide(&self) -> Result<Option<SettingsRecord>, SettingsError> {
        let made = (self.author.as_str(), Timestamp::now());
        let known = self.known.as_deref();
        let changed = SettingsRecord::changed(known, &self.key, &self.change, self.expected, made)?;
        if let Some(record) = &changed {
            self.callbacks.ask(&SettingsProposal {
                key: &self.key,
                old: known.and_then(SettingsRecord::value),
                new: record.value(),
                author: &self.author,
            })?;
        }
        Ok(changed)
    }
}

async fn within<T>(
    until: Instant,
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, SettingsError> {
    let done = timeout_at(until, work).await;
    Ok(done.unwrap_or(Err(RegistryError::Busy(ANSWER_WITHIN)))?)
}
