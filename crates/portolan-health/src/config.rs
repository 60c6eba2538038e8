//! The settings of the health monitor.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use portolan_core::IpNetwork;
use portolan_core::duration::{format_duration, text};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The minimum of `interval` and `timeout`, which bounds the load of the checks.
const SHORTEST: Duration = Duration::from_millis(10);
/// The maximum of `interval` and `timeout`: rarer checks detect failures too late.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The section `health` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// The time between two checks of an instance, from 10 ms to 1 h. Default 2 s: a check on the
    /// same host takes less than a millisecond, and a server that hangs is critical within 5 s,
    /// after two failures.
    #[serde(serialize_with = "text::serialize", deserialize_with = "wait")]
    pub interval: Duration,
    /// The timeout of one check, from 10 ms to 1 h. Default 1 s: on the same host, a server that
    /// takes longer is of no use to its clients.
    #[serde(serialize_with = "text::serialize", deserialize_with = "wait")]
    pub timeout: Duration,
    /// The number of consecutive failures after which an instance is critical. Default 2: one lost
    /// packet or one long pause has no effect.
    pub failures_before_critical: NonZeroU32,
    /// The number of consecutive successes after which a critical instance is passing again.
    /// Default 2: an instance that keeps restarting stays critical. The first check of an instance
    /// takes effect at once.
    pub successes_before_passing: NonZeroU32,
    /// The maximum number of concurrent checks. Default 64: with more, timeouts would show the load
    /// of the checking host and not the health of the services.
    pub max_concurrent_checks: NonZeroU16,
    /// The networks in which a registry checks the instances of every registrant. Default none: it checks an instance only at
    /// the address of the host that registered it, so that nobody can use it to reach other hosts.
    pub allowed_networks: Vec<IpNetwork>,
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
            allowed_networks: Vec::new(),
        }
    }
}

fn wait<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let duration = text::deserialize(input)?;
    if (SHORTEST..=LONGEST).contains(&duration) {
        return Ok(duration);
    }
    let [given, least, most] = [duration, SHORTEST, LONGEST].map(format_duration);
    Err(D::Error::custom(format!("{given} is out of bounds, expected {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_round_trip() {
        let json = serde_json::to_string(&HealthConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<HealthConfig>(&json).unwrap(), HealthConfig::default());
    }

    #[test]
    fn settings_out_of_bounds_are_rejected() {
        for json in [
            r#"{"interval": "0s"}"#,
            r#"{"interval": "2h"}"#,
            r#"{"timeout": "1ms"}"#,
            r#"{"failures_before_critical": 0}"#,
            r#"{"max_concurrent_checks": 0}"#,
            r#"{"intervall": "1s"}"#,
            r#"{"allowed_networks": ["lan"]}"#,
        ] {
            assert!(serde_json::from_str::<HealthConfig>(json).is_err(), "{json}");
        }
        let error = serde_json::from_str::<HealthConfig>(r#"{"interval": "0s"}"#).unwrap_err();
        assert!(error.to_string().contains("expected 10ms to 1h"), "{error}");
    }
}
