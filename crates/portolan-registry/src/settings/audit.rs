//! Records changes of settings in the audit log. Values are left out, because settings may have what is not for all who
//! read the log.

use std::collections::BTreeSet;

use serde_json::Value;
use tracing::info;

use super::SettingsError;
use super::record::{SettingsAction, SettingsKey, SettingsRecord};
use crate::RegistryError;

/// Records a new version.
pub(super) fn changed(record: &SettingsRecord) {
    let Some(newest) = record.newest() else { return };
    let before = record.entry(newest.version - 1).and_then(|entry| entry.value.as_ref());
    let members = members(before, newest.value.as_ref());
    info!(
        target: "audit",
        action = "settings",
        outcome = "success",
        source = "api",
        service_name = %record.key.name,
        scope = %record.key.scope,
        change = newest.action.as_str(),
        version = newest.version,
        members,
        "Settings changed"
    );
}

/// Records that settings were imported.
pub(super) fn imported(record: &SettingsRecord) {
    info!(
        target: "audit",
        action = "settings",
        outcome = "success",
        source = "import",
        service_name = %record.key.name,
        scope = %record.key.scope,
        change = "import",
        version = record.version(),
        "Settings imported"
    );
}

/// Records that a change was refused: for lack of a right, or because it was not what the schema or the expected version
/// demand.
pub(super) fn refused(key: &SettingsKey, action: SettingsAction, error: &SettingsError) {
    // Nobody refused it.
    if let SettingsError::Store(RegistryError::Closed) = error {
        return;
    }
    let outcome = match error {
        SettingsError::Denied(_) => "denied",
        _ => "failure",
    };
    // The text of a violated schema has a part of the value.
    let reason = match error {
        SettingsError::Schema { .. } => "the value does not meet the schema".to_owned(),
        error => error.to_string(),
    };
    info!(
        target: "audit",
        action = "settings",
        outcome,
        source = "api",
        service_name = %key.name,
        scope = %key.scope,
        change = action.as_str(),
        reason,
        "Change of settings refused"
    );
}

/// The names of the members that differ.
fn members(before: Option<&Value>, after: Option<&Value>) -> String {
    /// How many are named.
    const NAMED: usize = 32;
    let names = |value: Option<&Value>| -> BTreeSet<String> {
        value.and_then(Value::as_object).into_iter().flat_map(|it| it.keys().cloned()).collect()
    };
    let of = |value: Option<&Value>, name: &str| value.and_then(|value| value.get(name)).cloned();
    let all = names(before).union(&names(after)).cloned().collect::<Vec<_>>();
    let differ = all.into_iter().filter(|name| of(before, name) != of(after, name));
    differ.take(NAMED).collect::<Vec<_>>().join(", ")
}
