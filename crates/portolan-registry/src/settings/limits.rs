//! How much is kept of the settings of a service. A record fits into one value of every store.

use serde_json::Value;

use super::SettingsError;
use super::record::SettingsRecord;

/// The longest value, and the longest schema, in bytes of JSON.
pub(super) const VALUE: usize = 64 << 10;
/// The deepest nesting of a value or a schema.
pub(super) const DEPTH: usize = 32;
/// How many versions are kept.
pub(super) const VERSIONS: usize = 50;
/// The longest record in bytes of JSON: the oldest versions beyond it are dropped. Consul limits a value to 512 KiB.
pub(super) const RECORD: usize = 256 << 10;
/// How many services can have settings.
pub(crate) const SERVICES: usize = 1_024;

/// Checks that a value is an object within the limits. `what` names it in errors.
pub(super) fn check(what: &'static str, value: &Value) -> Result<(), SettingsError> {
    if !value.is_object() {
        return Err(SettingsError::NotAnObject { what, found: kind(value) });
    }
    // Before anything else that follows the nesting.
    if !is_within(value, DEPTH) {
        return Err(SettingsError::TooDeep { what, limit: DEPTH });
    }
    match length(value) {
        bytes if bytes > VALUE => Err(SettingsError::TooLarge { what, bytes, limit: VALUE }),
        _ => Ok(()),
    }
}

/// Drops the oldest versions beyond the limits; the newest one stays.
pub(super) fn shorten(record: &mut SettingsRecord) {
    let surplus = record.versions.len().saturating_sub(VERSIONS);
    record.versions.drain(..surplus);
    let mut bytes = record.schema.as_ref().map_or(0, length);
    let newest_first = record.versions.iter().rev();
    let kept = newest_first.take_while(|entry| {
        bytes += serde_json::to_vec(entry).map_or(0, |json| json.len());
        bytes <= RECORD
    });
    let kept = kept.count().max(1);
    record.versions.drain(..record.versions.len().saturating_sub(kept));
}

fn length(value: &Value) -> usize {
    value.to_string().len()
}

fn is_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Object(members) => {
            depth > 0 && members.values().all(|member| is_within(member, depth - 1))
        }
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_within(item, depth - 1)),
        _ => true,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
