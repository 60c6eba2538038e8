//! The section `discovery.timeouts` of the configuration: one key per strategy of the table, and
//! `overall`.

use std::fmt;
use std::time::Duration;

use portolan_core::duration::format_duration;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::strategies::STRATEGIES;
use crate::strategy::StrategyKind;

/// The key of the limit for all strategies together.
const OVERALL: &str = "overall";
/// The default limit for all strategies together: a little more than the sum of their timeouts.
const DEFAULT_OVERALL: Duration = Duration::from_secs(10);

/// How long lookups may take, retries included. Each strategy has its own limit:
/// `default_port_check` (100 ms), `registry_lookup` (1 s), `broadcast_wait` (5 s, an answer ends
/// the wait), `dns_resolution` (2 s) and `kubernetes_lookup` (1 s).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// The limit for all strategies together. Default 10 s.
    pub overall: Duration,
    /// The limits of the strategies that have a key, in the order of the table.
    strategies: Vec<(&'static str, Duration)>,
}

// === impl Timeouts ===

impl Timeouts {
    /// Returns the limit of the built-in strategy of this name; `overall` if it has no own limit.
    pub fn strategy(&self, name: &str) -> Duration {
        let strategy = STRATEGIES.iter().find(|strategy| strategy.kind.name == name);
        strategy.map_or(self.overall, |strategy| self.limit(&strategy.kind))
    }

    /// Returns the limit of a strategy: the configured one, the strategy's own default, or
    /// `overall`.
    pub(crate) fn limit(&self, kind: &StrategyKind) -> Duration {
        let configured = kind.timeout_key.and_then(|key| self.get(key));
        configured.or(kind.timeout).unwrap_or(self.overall)
    }

    /// Returns the limit with this key, such as `registry_lookup`; `None` for an unknown key.
    pub(crate) fn get(&self, key: &str) -> Option<Duration> {
        self.entries().find(|(known, _)| *known == key).map(|(_, limit)| limit)
    }

    /// Sets the limit with this key. Returns whether the key exists.
    pub fn set(&mut self, key: &str, limit: Duration) -> bool {
        let mut strategies = self.strategies.iter_mut().map(|(known, limit)| (*known, limit));
        let entry = match key {
            OVERALL => Some(&mut self.overall),
            _ => strategies.find(|(known, _)| *known == key).map(|(_, limit)| limit),
        };
        entry.map(|entry| *entry = limit).is_some()
    }

    /// Returns the key of a limit that is zero, if there is one.
    pub(crate) fn zero(&self) -> Option<&'static str> {
        self.entries().find(|(_, limit)| limit.is_zero()).map(|(key, _)| key)
    }

    fn entries(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.strategies.iter().copied().chain([(OVERALL, self.overall)])
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let keyed = |kind: &StrategyKind| Some((kind.timeout_key?, kind.timeout?));
        let strategies = STRATEGIES.iter().filter_map(|strategy| keyed(&strategy.kind)).collect();
        Self { overall: DEFAULT_OVERALL, strategies }
    }
}

impl Serialize for Timeouts {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut map = output.serialize_map(None)?;
        for (key, limit) in self.entries() {
            map.serialize_entry(key, &format_duration(limit))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Timeouts {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_map(TimeoutsVisitor)
    }
}

struct TimeoutsVisitor;

impl<'de> Visitor<'de> for TimeoutsVisitor {
    type Value = Timeouts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of durations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Timeouts, A::Error> {
        let mut timeouts = Timeouts::default();
        while let Some(key) = map.next_key::<String>()? {
            let limit = map.next_value::<Limit>()?.0;
            if !timeouts.set(&key, limit) {
                let known: Vec<_> = timeouts.entries().map(|(key, _)| format!("`{key}`")).collect();
                let known = known.join(", ");
                let text = format_args!("unknown field `{key}`, expected one of {known}");
                return Err(A::Error::custom(text));
            }
        }
        Ok(timeouts)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Limit(#[serde(with = "portolan_core::duration::text")] Duration);
