//! The record of lost records.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Says how many records are lost, and why.
pub(crate) fn loss(lost: u64, message: &str) -> Map<String, Value> {
    let record = json!({
        "time": Timestamp::now().to_string(),
        "action": "audit-loss",
        "principal": "portolan",
        "outcome": "failure",
        "lost": lost,
        "message": message,
    });
    record.as_object().cloned().unwrap_or_default()
}
