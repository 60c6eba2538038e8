//! Durations as text, and the time to live of registrations.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The time to live (TTL) of a registration without a heartbeat, from 1 second to 24 hours.
///
/// In JSON it is a number of seconds. Text such as `"60s"` is accepted as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(Duration);

/// Why a value is not a duration or not a TTL. Permanent: the value must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDuration {
    /// The text is not a duration.
    #[error("{0} is not a duration, expected a text such as 100ms, 5s, 5m or 1h30m")]
    NotADuration(String),
    /// The TTL is out of range.
    #[error("TTL {} is out of range, expected 1s to 24h", format_duration(*.0))]
    TtlOutOfBounds(Duration),
}

/// Parses a duration: `100ms`, `5s`, `5m`, `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| InvalidDuration::NotADuration(crate::quoted(text)))
}

/// Formats a duration in the form that [`parse_duration`] accepts: `1m30s`.
pub fn format_duration(duration: Duration) -> String {
    let printer = jiff::fmt::friendly::SpanPrinter::new();
    printer.unsigned_duration_to_string(&duration)
}

/// Formats a duration rounded to milliseconds for display: `1s 2ms` for 1.002345 s.
pub fn format_rounded(duration: Duration) -> String {
    let coarse = match duration.as_millis() {
        0 => Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or_default()),
        millis => Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)),
    };
    format_duration(coarse)
}

// === impl Ttl ===

impl Ttl {
    /// The minimum. Shorter TTLs leave too little time for heartbeats.
    pub const MIN: Duration = Duration::from_secs(1);
    /// The maximum. After a day without a heartbeat a registration is obsolete.
    pub const MAX: Duration = Duration::from_secs(24 * 60 * 60);
    /// 60 s, which is two announcement intervals, so that one lost announcement does not expire an
    /// endpoint.
    pub const DEFAULT: Self = Self(Duration::from_secs(60));

    /// Creates a TTL.
    pub fn new(duration: Duration) -> Result<Self, InvalidDuration> {
        if (Self::MIN..=Self::MAX).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(InvalidDuration::TtlOutOfBounds(duration))
        }
    }

    /// Returns the TTL as a duration.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Default for Ttl {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl FromStr for Ttl {
    type Err = InvalidDuration;
    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        Self::new(parse_duration(text)?)
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => out.serialize_u64(self.0.as_secs()),
            _ => out.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(TtlVisitor)
    }
}

struct TtlVisitor;

impl Visitor<'_> for TtlVisitor {
    type Value = Ttl;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a TTL: a number of seconds or a text such as \"60s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Ttl, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Ttl, E> {
        Ttl::new(Duration::from_secs(seconds)).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Ttl, E> {
        match u64::try_from(seconds) {
            Ok(seconds) => self.visit_u64(seconds),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(seconds), &self)),
        }
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Ttl, E> {
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => Ttl::new(duration).map_err(E::custom),
            Err(_) => Err(E::invalid_value(Unexpected::Float(seconds), &self)),
        }
    }
}

/// For serde's `with`: a duration as text, `100ms`, `5s`, `5m`.
pub mod text {
    use super::*;

    /// Writes the duration as text.
    pub fn serialize<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&format_duration(*duration))
    }

    /// Reads the duration from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        input.deserialize_any(TextVisitor)
    }

    struct TextVisitor;

    impl Visitor<'_> for TextVisitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with its unit, such as 100ms, 5s or 5m")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            parse_duration(text).map_err(E::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_round_trips_as_text() {
        for (text, millis) in [("100ms", 100), ("5s", 5_000), ("5m", 300_000), ("1h30m", 5_400_000)]
        {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis));
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
        }
    }

    #[test]
    fn rounded_duration_has_at_most_milliseconds() {
        for (nanos, expected) in [(1_002_345_678, "1s 2ms"), (4_321, "4µs"), (0, "0s")] {
            assert_eq!(format_rounded(Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn invalid_duration_is_rejected_with_an_example() {
        for text in ["", "5", "-5s", "soon", "5 parsecs"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains("expected a text such as 100ms"), "{text}: {error}");
        }
    }

    #[test]
    fn ttl_is_a_number_of_seconds_or_text_within_its_limits() {
        let ttl = |json| serde_json::from_str::<Ttl>(json);
        assert_eq!(ttl("60").unwrap(), Ttl::DEFAULT);
        assert_eq!(ttl("\"60s\"").unwrap(), Ttl::DEFAULT);
        assert_eq!(ttl("1.5").unwrap().duration(), Duration::from_millis(1500));
        assert_eq!(serde_json::to_string(&Ttl::DEFAULT).unwrap(), "60");
        for json in ["0", "-1", "0.5", "86401", "\"25h\"", "1e300", "null"] {
            assert!(ttl(json).is_err(), "{json} was accepted");
        }
        for (json, said) in [("-1", "integer `-1`"), ("-1.5", "`-1.5`"), ("1e300", "1e+300")] {
            let error = ttl(json).unwrap_err().to_string();
            assert!(error.contains(said), "{json}: {error}");
        }
    }
}
