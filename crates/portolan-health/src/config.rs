//! The settings of the health monitor.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use portolan_core::duration::{format_duration, text};
use portolan_core::{IpNetwork, TlsConfig, parse_duration};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::timing::{MAX_JITTER, REMOVAL, START_PERIOD, WAIT, check_duration};

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
    /// The share of the interval by which it varies in both directions, from 0 to 0.5. Default 0.1: checks that began
    /// together spread out.
    #[serde(deserialize_with = "jitter")]
    pub jitter: f64,
    /// The time in which failures do not count before the first success, from 0 s to 1 h. Default 0 s: an instance that starts is
    /// checked more often than at the interval, and its failures do not count until then.
    #[serde(serialize_with = "text::serialize", deserialize_with = "start_period")]
    pub start_period: Duration,
    /// The number of consecutive failures after which an instance is critical. Default 2: one lost
    /// packet or one long pause has no effect.
    pub failures_before_critical: NonZeroU32,
    /// The number of consecutive successes after which a critical instance is passing again.
    /// Default 2: an instance that keeps restarting stays critical. The first check of an instance
    /// takes effect at once.
    pub successes_before_passing: NonZeroU32,
    /// The number to which `successes_before_passing` grows for an instance that keeps becoming critical again: it doubles each
    /// time, until the instance was passing for 20 checks. Default 16: with the default interval, an instance that flaps stays
    /// critical for half a minute. Not above `successes_before_passing` means that it does not grow.
    pub max_successes_before_passing: NonZeroU32,
    /// The time after which an instance that stays critical is removed: the registry deregisters it, or its agent does until it is
    /// passing again. From 1 s to 168 h. Default: never.
    #[serde(serialize_with = "serialize_removal", deserialize_with = "removal")]
    pub deregister_critical_after: Option<Duration>,
    /// The maximum number of concurrent checks. Default 64: with more, timeouts would show the load
    /// of the checking host and not the health of the services.
    pub max_concurrent_checks: NonZeroU16,
    /// The networks in which a registry checks the instances of every registrant. Default none: it checks an instance only at
    /// the address of the host that registered it, so that nobody can use it to reach other hosts.
    pub allowed_networks: Vec<IpNetwork>,
    /// The authorities that checks with TLS trust, and the certificate that they show. Default: the authorities of the system, and
    /// no certificate.
    pub tls: TlsConfig,
}

// === impl HealthConfig ===

impl Default for HealthConfig {
    fn default() -> Self {
        const TWO: NonZeroU32 = NonZeroU32::new(2).expect("not zero");
        Self {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            jitter: 0.1,
            start_period: Duration::ZERO,
            failures_before_critical: TWO,
            successes_before_passing: TWO,
            max_successes_before_passing: const { NonZeroU32::new(16).expect("not zero") },
            deregister_critical_after: None,
            max_concurrent_checks: const { NonZeroU16::new(64).expect("not zero") },
            allowed_networks: Vec::new(),
            tls: TlsConfig::default(),
        }
    }
}

fn wait<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let duration = text::deserialize(input)?;
    check_duration(duration, &WAIT).map_err(D::Error::custom)?;
    Ok(duration)
}

fn start_period<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let duration = text::deserialize(input)?;
    check_duration(duration, &START_PERIOD).map_err(D::Error::custom)?;
    Ok(duration)
}

fn removal<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(input)? else { return Ok(None) };
    let duration = parse_duration(&text).map_err(D::Error::custom)?;
    check_duration(duration, &REMOVAL).map_err(D::Error::custom)?;
    Ok(Some(duration))
}

fn serialize_removal<S: Serializer>(removal: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    removal.map(format_duration).serialize(out)
}

fn jitter<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(input)?;
    match (0.0..=MAX_JITTER).contains(&share) {
        true => Ok(share),
        false => {
            Err(D::Error::custom(format!("{share} is out of bounds, expected 0 to {MAX_JITTER}")))
        }
    }
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
            r#"{"jitter": 0.6}"#,
            r#"{"jitter": -0.1}"#,
            r#"{"start_period": "2h"}"#,
            r#"{"max_successes_before_passing": 0}"#,
            r#"{"deregister_critical_after": "100ms"}"#,
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
