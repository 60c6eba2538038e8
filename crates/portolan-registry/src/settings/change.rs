//! Decides what a change makes of a record.

use std::sync::Arc;

use jiff::Timestamp;
use portolan_access::check_stored;
use portolan_core::merge_patch;
use serde_json::Value;

use super::record::{SettingsAction, SettingsEntry, SettingsKey, SettingsRecord};
use super::{SettingsError, limits, schema};

/// A requested change of the settings of a service.
#[derive(Debug, Clone, PartialEq)]
pub enum SettingsChange {
    /// Replaces the settings as a whole.
    Set(Value),
    /// Changes some members, by a JSON merge patch (RFC 7396).
    Patch(Value),
    /// Deletes the settings. Their versions and their schema are kept.
    Delete,
    /// Restores the value of an earlier version.
    Rollback(u64),
    /// Sets the schema, or removes it. The settings in force must meet it.
    Schema(Option<Value>),
}

/// What a version consists of besides its number.
struct Next {
    value: Option<Value>,
    schema: Option<Value>,
    from: Option<u64>,
}

// === impl SettingsChange ===

impl SettingsChange {
    /// How the version that the change makes was made.
    pub fn action(&self) -> SettingsAction {
        match self {
            Self::Set(_) => SettingsAction::Set,
            Self::Patch(_) => SettingsAction::Patch,
            Self::Delete => SettingsAction::Delete,
            Self::Rollback(_) => SettingsAction::Rollback,
            Self::Schema(_) => SettingsAction::Schema,
        }
    }
}

// === impl SettingsRecord ===

impl SettingsRecord {
    /// Returns the record with one more version, `None` if the change changes nothing. With `expected` it is rejected unless
    /// that is the newest version; 0 means that there are no settings.
    pub(super) fn changed(
        known: Option<&Self>,
        key: &SettingsKey,
        change: &SettingsChange,
        expected: Option<u64>,
        (author, at): (&str, Timestamp),
    ) -> Result<Option<Self>, SettingsError> {
        let current = known.map_or(0, Self::version);
        let has_none = known.is_none_or(|known| known.value().is_none());
        let is_met = |expected: u64| expected == current || (expected == 0 && has_none);
        if let Some(expected) = expected.filter(|expected| !is_met(*expected)) {
            return Err(SettingsError::Conflict { key: key.clone(), expected, current });
        }
        let Next { value, schema, from } = next(known, key, change)?;
        let is_same =
            known.is_some_and(|known| known.value() == value.as_ref() && known.schema == schema);
        if is_same || (known.is_none() && value.is_none() && schema.is_none()) {
            return Ok(None);
        }
        check(key, value.as_ref(), schema.as_ref(), change)?;
        let action = change.action();
        let author = author.to_owned();
        let entry = SettingsEntry { version: current + 1, at, author, action, from, value };
        let mut versions = known.map(|known| known.versions.clone()).unwrap_or_default();
        versions.push(Arc::new(entry));
        let mut record = Self { key: key.clone(), schema, versions };
        limits::shorten(&mut record);
        Ok(Some(record))
    }

    /// Checks a record that was not made here, such as one of an export.
    pub(crate) fn validate(&self) -> Result<(), SettingsError> {
        self.schema.iter().try_for_each(|schema| limits::check("the schema", schema))?;
        let values = self.versions.iter().filter_map(|entry| entry.value.as_ref());
        values.into_iter().try_for_each(|value| limits::check("the value", value))?;
        let mut kept = self.clone();
        limits::shorten(&mut kept);
        let is_ordered = self.versions.is_sorted_by(|a, b| a.version < b.version);
        match is_ordered && self.version() > 0 && kept.versions.len() == self.versions.len() {
            true => Ok(()),
            false => Err(SettingsError::InvalidRecord { key: self.key.clone() }),
        }
    }
}

fn next(
    known: Option<&SettingsRecord>,
    key: &SettingsKey,
    change: &SettingsChange,
) -> Result<Next, SettingsError> {
    let current = || known.and_then(SettingsRecord::value).cloned();
    let schema = || known.and_then(|known| known.schema.clone());
    let with = |value| Next { value, schema: schema(), from: None };
    let unknown = || SettingsError::Unknown { key: key.clone() };
    Ok(match change {
        SettingsChange::Set(value) => with(Some(value.clone())),
        SettingsChange::Patch(patch) => {
            limits::check("the patch", patch)?;
            let mut value = current().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            merge_patch::apply(&mut value, patch);
            with(Some(value))
        }
        SettingsChange::Delete => {
            current().ok_or_else(unknown)?;
            with(None)
        }
        SettingsChange::Rollback(version) => {
            let known = known.ok_or_else(unknown)?;
            let entry = known.entry(*version).filter(|entry| entry.value.is_some());
            let entry = entry.ok_or_else(|| SettingsError::UnknownVersion {
                key: key.clone(),
                version: *version,
                kept: known
                    .versions
                    .iter()
                    .filter(|it| it.value.is_some())
                    .map(|it| it.version)
                    .collect(),
            })?;
            Next { from: Some(*version), ..with(entry.value.clone()) }
        }
        SettingsChange::Schema(schema) => {
            Next { value: current(), schema: schema.clone(), from: None }
        }
    })
}

/// Checks what would be stored.
fn check(
    key: &SettingsKey,
    value: Option<&Value>,
    schema: Option<&Value>,
    change: &SettingsChange,
) -> Result<(), SettingsError> {
    value.map_or(Ok(()), |value| limits::check("the value", value))?;
    check_stored(&key.scope, &key.name, value)?;
    let Some(schema) = schema else { return Ok(()) };
    limits::check("the schema", schema)?;
    let is_new = matches!(change, SettingsChange::Schema(_));
    match value {
        Some(value) => schema::check(key, schema, value),
        None if is_new => schema::check_schema(schema),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
