//! The settings of services as values of keys of a cluster.

use std::time::Duration;

use tokio::time::Instant;

use crate::SettingsRecord;

/// The waits between attempts to watch.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(100);
pub(crate) const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// How long a request waits until the server knows that the prefix is a registry's: less than its caller waits.
const WITHIN: Duration = Duration::from_millis(4500);

/// When a request that begins now stops to wait for the state of the cluster.
pub(crate) fn deadline() -> Instant {
    Instant::now() + WITHIN
}

pub(crate) fn encode(record: &SettingsRecord) -> Vec<u8> {
    serde_json::to_vec(record).expect("settings are JSON")
}

/// Decodes the value of a key; an error names it.
pub(crate) fn decode(key: &str, value: &[u8]) -> Result<SettingsRecord, String> {
    serde_json::from_slice(value)
        .map_err(|error| format!("the value of {key} cannot be read: {error}"))
}
