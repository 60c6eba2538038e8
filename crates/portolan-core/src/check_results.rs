//! The results of the health checks of an instance.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::HealthStatus;

/// The results of an instance's health checks since its monitor began to watch it.
///
/// They are not part of the registration: a registry keeps them in memory and makes no revision of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResults {
    /// When the last check ended, by the clock of the host that ran it.
    pub checked_at: Timestamp,
    /// The result of the last check, of which several are needed to change the health.
    pub result: HealthStatus,
    /// How long the last check took, in milliseconds.
    #[serde(rename = "latency_ms", with = "millis")]
    pub latency: Duration,
    /// The number of successes since the last failure; a warning is a success.
    pub consecutive_successes: u64,
    /// The number of failures since the last success.
    pub consecutive_failures: u64,
    /// The number of all successes.
    pub successes: u64,
    /// The number of all failures.
    pub failures: u64,
}

// === impl CheckResults ===

impl CheckResults {
    /// Returns the results before the first check.
    pub fn begun_at(now: Timestamp) -> Self {
        Self {
            checked_at: now,
            result: HealthStatus::Unknown,
            latency: Duration::ZERO,
            consecutive_successes: 0,
            consecutive_failures: 0,
            successes: 0,
            failures: 0,
        }
    }

    /// Adds the result of a check. One that is `unknown` is neither a success nor a failure.
    pub fn add(&mut self, result: HealthStatus, latency: Duration, now: Timestamp) {
        (self.checked_at, self.result, self.latency) = (now, result, latency);
        match result {
            HealthStatus::Passing | HealthStatus::Warning => {
                self.consecutive_failures = 0;
                self.consecutive_successes = self.consecutive_successes.saturating_add(1);
                self.successes = self.successes.saturating_add(1);
            }
            HealthStatus::Critical => {
                self.consecutive_successes = 0;
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                self.failures = self.failures.saturating_add(1);
            }
            HealthStatus::Unknown => {}
        }
    }
}

/// A duration as a number of milliseconds.
mod millis {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(latency: &Duration, out: S) -> Result<S::Ok, S::Error> {
        // Nanoseconds would suggest a precision that the measurement does not have.
        out.serialize_f64(latency.as_micros() as f64 / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let millis = f64::deserialize(input)?;
        Duration::try_from_secs_f64(millis / 1000.0).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_in_a_row_and_in_all() {
        use HealthStatus::{Critical, Passing, Unknown, Warning};
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut results = CheckResults::begun_at(at(0));
        for (second, result) in [Passing, Warning, Critical, Critical, Unknown].iter().enumerate() {
            let second = i64::try_from(second).unwrap() + 1;
            results.add(*result, Duration::from_micros(1500), at(second));
        }
        assert_eq!((results.consecutive_successes, results.consecutive_failures), (0, 2));
        assert_eq!((results.successes, results.failures), (2, 2));
        assert_eq!((results.checked_at, results.result), (at(5), Unknown));
        results.add(Passing, Duration::from_micros(250), at(6));
        assert_eq!((results.consecutive_successes, results.consecutive_failures), (1, 0));
        let json = serde_json::to_value(&results).unwrap();
        assert_eq!(json["latency_ms"], 0.25);
        assert_eq!(serde_json::from_value::<CheckResults>(json).unwrap(), results);
    }

    #[test]
    fn impossible_latencies_are_refused() {
        let mut json = serde_json::to_value(CheckResults::begun_at(Timestamp::UNIX_EPOCH)).unwrap();
        for latency in [-1.0, 1e300] {
            json["latency_ms"] = latency.into();
            assert!(serde_json::from_value::<CheckResults>(json.clone()).is_err(), "{latency}");
        }
    }
}
