//! The settings in force, and how they change.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::merge_patch;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::change::changes;
use super::history::History;
use super::{
    Author, ChangeRefused, ChangedSetting, Effect, HistoryEntry, RefusedSetting, SettingRules,
};
use crate::loader::flatten;
use crate::path::KeyPath;
use crate::{ConfigError, LoadableSettings, Loaded, Origin};

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong, and where.
    pub message: String,
    /// What resolves it.
    pub remedy: Option<String>,
}

/// Why a callback does not agree to a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veto(pub String);

/// A version of the settings.
#[derive(Debug)]
pub struct Version<T> {
    /// Its number, from 1.
    pub number: u64,
    /// The settings.
    pub loaded: Loaded<T>,
}

/// A change that is in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Applied {
    /// The version in force.
    pub version: u64,
    /// The settings that changed; empty if the values were in force already.
    pub changed: Vec<ChangedSetting>,
}

/// Who keeps the settings from changing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// Who holds the lock.
    pub holder: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

type Source<T> = Box<dyn Fn(&Value) -> Result<Loaded<T>, Unusable> + Send + Sync>;
type Callback<T> = Arc<dyn Fn(&T, &T) -> Result<(), Veto> + Send + Sync>;

/// Holds the settings in force, and changes them as a whole or not at all.
///
/// Its functions block, because they read files. Changes are made one after the other.
pub struct ConfigManager<T> {
    source: Source<T>,
    rules: SettingRules,
    /// Held while a change is made.
    turn: Mutex<()>,
    state: Mutex<State<T>>,
    current: watch::Sender<Arc<Version<T>>>,
}

struct State<T> {
    /// What requests have set.
    requested: Value,
    lock: Option<Lock>,
    history: History,
    callbacks: Vec<(String, Callback<T>)>,
    refused: Option<String>,
}

// === impl ConfigManager ===

impl<T: LoadableSettings> ConfigManager<T> {
    /// Creates a manager of settings that are in force already. `source` loads and validates them again; it is called with
    /// what requests have set, for [`crate::Loader::requested`].
    pub fn new(
        loaded: Loaded<T>,
        rules: SettingRules,
        source: impl Fn(&Value) -> Result<Loaded<T>, Unusable> + Send + Sync + 'static,
    ) -> Self {
        let mut history = History::default();
        let (at, author) = (Timestamp::now(), Author::Start);
        history.push(HistoryEntry { version: 1, at, author, changed: Vec::new() });
        let state = State {
            requested: Value::Null,
            lock: None,
            history,
            callbacks: Vec::new(),
            refused: None,
        };
        Self {
            source: Box::new(source),
            rules,
            turn: Mutex::default(),
            state: Mutex::new(state),
            current: watch::Sender::new(Arc::new(Version { number: 1, loaded })),
        }
    }

    /// Returns the settings in force.
    pub fn current(&self) -> Arc<Version<T>> {
        Arc::clone(&self.current.borrow())
    }

    /// Returns a receiver of each version that comes into force.
    pub fn follow(&self) -> watch::Receiver<Arc<Version<T>>> {
        self.current.subscribe()
    }

    /// Adds a callback that sees the old and the new settings before a change is applied, and may refuse it. It must not change
    /// the settings itself.
    pub fn on_change(
        &self,
        name: impl Into<String>,
        callback: impl Fn(&T, &T) -> Result<(), Veto> + Send + Sync + 'static,
    ) {
        self.state.lock().callbacks.push((name.into(), Arc::new(callback)));
    }

    /// Loads the files again.
    ///
    /// # Errors
    /// The change is refused; the settings in force stay so.
    pub fn reload(&self, author: Author) -> Result<Applied, ChangeRefused> {
        let _turn = self.turn.lock();
        let result = self.check_lock().and_then(|()| {
            let requested = self.state.lock().requested.clone();
            self.apply(self.load(&requested)?, requested, author)
        });
        self.state.lock().refused = result.as_ref().err().map(ToString::to_string);
        result
    }

    /// Changes settings by a JSON merge patch (RFC 7396). With `expected`, only if that version is in force.
    ///
    /// # Errors
    /// The change is refused as a whole.
    pub fn patch(
        &self,
        patch: &Value,
        expected: Option<u64>,
        author: Author,
    ) -> Result<Applied, ChangeRefused> {
        let _turn = self.turn.lock();
        self.check_lock()?;
        let current = self.current().number;
        if let Some(expected) = expected.filter(|expected| *expected != current) {
            return Err(ChangeRefused::Version { expected, current });
        }
        self.check_requested(patch)?;
        let mut requested = self.state.lock().requested.clone();
        // `null` removes a setting, so that the weaker layers decide again.
        merge_patch::apply(&mut requested, patch);
        let loaded = self.load(&requested)?;
        check_overridden(patch, &loaded)?;
        self.apply(loaded, requested, author)
    }

    /// Refuses changes until [`unlock`](Self::unlock). A holder may repeat it with another reason.
    ///
    /// # Errors
    /// Another holder has the lock.
    pub fn lock(&self, holder: &str, reason: &str) -> Result<Lock, ChangeRefused> {
        let mut state = self.state.lock();
        if let Some(lock) = state.lock.as_ref().filter(|lock| lock.holder != holder) {
            return Err(lock.refusal());
        }
        let (holder, reason) = (holder.to_owned(), reason.to_owned());
        Ok(state.lock.insert(Lock { holder, reason, since: Timestamp::now() }).clone())
    }

    /// Removes the lock of any holder, so that changes are accepted again.
    ///
    /// # Errors
    /// There is no lock.
    pub fn unlock(&self) -> Result<Lock, ChangeRefused> {
        self.state.lock().lock.take().ok_or(ChangeRefused::NotLocked)
    }

    /// Returns the lock, if there is one.
    pub fn locked(&self) -> Option<Lock> {
        self.state.lock().lock.clone()
    }

    /// Returns the latest versions, oldest first; at most [`super::MAX_HISTORY`].
    pub fn history(&self) -> Vec<HistoryEntry> {
        self.state.lock().history.entries()
    }

    /// Returns why the files were refused when they were last read, if they were.
    pub fn refused(&self) -> Option<String> {
        self.state.lock().refused.clone()
    }

    fn check_lock(&self) -> Result<(), ChangeRefused> {
        self.locked().map_or(Ok(()), |lock| Err(lock.refusal()))
    }

    fn load(&self, requested: &Value) -> Result<Loaded<T>, ChangeRefused> {
        (self.source)(requested)
            .map_err(|Unusable { message, remedy }| ChangeRefused::Invalid { message, remedy })
    }

    /// Refuses what requests may not set.
    fn check_requested(&self, patch: &Value) -> Result<(), ChangeRefused> {
        if !patch.is_object() {
            return Err(ChangeRefused::Invalid {
                message: "the change is not a JSON object".to_owned(),
                remedy: Some(
                    r#"send settings as in a file: {"logging": {"level": "debug"}}"#.into(),
                ),
            });
        }
        let current = self.current();
        refuse(leaves(patch).into_keys().filter_map(|path| {
            let is_secret = current.loaded.is_secret(&path);
            let only_files = matches!(self.rules.find(&path), Effect::LiveFromFiles { .. });
            let reason =
                "it is a secret or names a file, so it is taken from the configuration file only";
            (is_secret || only_files).then(|| refused(&path, reason))
        }))
    }

    fn apply(
        &self,
        loaded: Loaded<T>,
        requested: Value,
        author: Author,
    ) -> Result<Applied, ChangeRefused> {
        let current = self.current();
        let changed = changes(&current.loaded, &loaded).map_err(|error| internal(&error))?;
        refuse(changed.iter().filter_map(|change| match self.rules.find(&change.key) {
            Effect::Restart { reason } => {
                Some(refused(&change.key, format!("it needs a restart: {reason}")))
            }
            Effect::Live { .. } | Effect::LiveFromFiles { .. } => None,
        }))?;
        if changed.is_empty() {
            self.state.lock().requested = requested;
            return Ok(Applied { version: current.number, changed });
        }
        self.ask(&current.loaded.value, &loaded.value)?;
        let version = current.number + 1;
        let entry =
            HistoryEntry { version, at: Timestamp::now(), author, changed: changed.clone() };
        {
            let mut state = self.state.lock();
            state.requested = requested;
            state.history.push(entry);
        }
        self.current.send_replace(Arc::new(Version { number: version, loaded }));
        Ok(Applied { version, changed })
    }

    /// Asks every callback whether it agrees.
    fn ask(&self, old: &T, new: &T) -> Result<(), ChangeRefused> {
        let callbacks = self.state.lock().callbacks.clone();
        callbacks.into_iter().try_for_each(|(by, callback)| {
            callback(old, new).map_err(|Veto(reason)| ChangeRefused::Veto { by, reason })
        })
    }
}

impl<T> fmt::Debug for ConfigManager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.current.borrow().number;
        f.debug_struct("ConfigManager").field("version", &version).finish_non_exhaustive()
    }
}

// === impl Lock ===

impl Lock {
    fn refusal(&self) -> ChangeRefused {
        ChangeRefused::Locked { holder: self.holder.clone(), reason: self.reason.clone() }
    }
}

/// Refuses a request for a setting that a stronger layer decides: it would have no effect.
fn check_overridden<T: LoadableSettings>(
    patch: &Value,
    loaded: &Loaded<T>,
) -> Result<(), ChangeRefused> {
    refuse(leaves(patch).into_keys().filter_map(|path| {
        let origin = loaded.nearest_origin(&path);
        let is_stronger = origin.strength() > Origin::Request.strength();
        is_stronger.then(|| refused(&path, format!("{origin} overrides it")))
    }))
}

fn leaves(patch: &Value) -> BTreeMap<KeyPath, Value> {
    let mut leaves = BTreeMap::new();
    flatten(patch, &KeyPath::default(), &mut leaves);
    leaves
}

fn refuse(settings: impl Iterator<Item = RefusedSetting>) -> Result<(), ChangeRefused> {
    let settings: Vec<_> = settings.collect();
    if settings.is_empty() { Ok(()) } else { Err(ChangeRefused::Settings(settings)) }
}

fn refused(path: &KeyPath, reason: impl Into<String>) -> RefusedSetting {
    RefusedSetting { path: path.to_string(), reason: reason.into() }
}

fn internal(error: &ConfigError) -> ChangeRefused {
    ChangeRefused::Invalid { message: error.to_string(), remedy: None }
}
