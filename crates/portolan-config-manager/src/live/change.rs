//! What differs between two versions of the settings.

use serde::Serialize;
use serde_json::Value;

use crate::error::ConfigError;
use crate::path::KeyPath;
use crate::{LoadableSettings, Loaded};

/// A setting that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedSetting {
    /// Its path, such as `health.interval`.
    pub path: String,
    /// The value before; `null` if there was none. Secrets are masked.
    pub old: Value,
    /// The value after; `null` if there is none. Secrets are masked.
    pub new: Value,
    #[serde(skip)]
    pub(crate) key: KeyPath,
}

/// Returns the settings that differ, sorted by path.
pub(crate) fn changes<T: LoadableSettings>(
    old: &Loaded<T>,
    new: &Loaded<T>,
) -> Result<Vec<ChangedSetting>, ConfigError> {
    let (before, after) = (old.flat()?, new.flat()?);
    let mut paths: Vec<&KeyPath> = before.keys().chain(after.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let differs = |path: &&KeyPath| before.get(*path) != after.get(*path);
    let change = |key: &KeyPath| ChangedSetting {
        path: key.to_string(),
        old: before.get(key).map_or(Value::Null, |value| old.shown(key, value)),
        new: after.get(key).map_or(Value::Null, |value| new.shown(key, value)),
        key: key.clone(),
    };
    Ok(paths.into_iter().filter(differs).map(change).collect())
}
