//! The settings of the health monitor.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use portolan_core::duration::{format_duration, text};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The shortest wait that can be set: below it a monitor does little but check.
const SHORTEST: Duration = Duration::from_millis(10);
/// The longest wait that can be set: a check less often than that finds nothing in time.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The section `health` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// How long to wait from one check of an instance to the next, from 10 ms to 1 h. Default 2 s:
    /// a check on the same host takes less than a millisecond, and with two failures needed a
    /// server that hangs is noticed within 5 s.
    #[serde(serialize_with = "text::serialize", deserialize_with = "wait")]
    pub interval: Duration,
    /// How long one check may take, from 10 ms to 1 h. Default 1 s: on the same host an answer
    /// that takes longer is as good as none.
    #[serde(serialize_with = "text::serialize", deserialize_with = "wait")]
    pub timeout: Duration,
    /// How many checks in a row must fail before an instance is critical. Default 2: one lost
    /// packet or one long pause ends nothing.
    pub failures_before_critical: NonZeroU32,
    /// How many checks in a row must succeed before an instance that was unwell is passing again.
    /// Default 2: what restarts again and again is not well. The very first check counts at once.
    pub successes_before_passing: NonZeroU32,
    /// How many checks may run at the same time. Default 64: more would find the checking host
    /// slow and not the services.
    pub max_concurrent_checks: NonZeroU16,
}

// === impl HealthConfig ===

impl Default for HealthConfig {
    fn default() -> Self {
        const TWO: NonZeroU32 = NonZeroU32::new(2).expect("not zero");
        Self {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            failures_before_critical: TWO,
            successes_before_passing: TWO,
            max_concurrent_checks: const { NonZeroU16::new(64).expect("not zero") },
        }
    }
}

fn wait<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let duration = text::deserialize(input)?;
    if (SHORTEST..=LONGEST).contains(&duration) {
        return Ok(duration);
    }
    let [given, least, most] = [duration, SHORTEST, LONGEST].map(format_duration);
    Err(D::Error::custom(format!("{given} is out of bounds; it lies between {least} and {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_read_back_as_they_are_written() {
        let json = serde_json::to_string(&HealthConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<HealthConfig>(&json).unwrap(), HealthConfig::default());
    }

    #[test]
    fn a_setting_that_would_keep_the_monitor_spinning_is_refused() {
        for json in [
            r#"{"interval": "0s"}"#,
            r#"{"interval": "2h"}"#,
            r#"{"timeout": "1ms"}"#,
            r#"{"failures_before_critical": 0}"#,
            r#"{"max_concurrent_checks": 0}"#,
            r#"{"intervall": "1s"}"#,
        ] {
            assert!(serde_json::from_str::<HealthConfig>(json).is_err(), "{json}");
        }
        let error = serde_json::from_str::<HealthConfig>(r#"{"interval": "0s"}"#).unwrap_err();
        assert!(error.to_string().contains("it lies between 10ms and 1h"), "{error}");
    }
}
