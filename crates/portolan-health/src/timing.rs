//! When a check runs, and how many reports change the health: the settings of the monitor, and those of a check in place of them.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use portolan_core::duration::format_duration;
use portolan_core::parse_duration;

use crate::{CheckOptions, HealthConfig};

/// The bounds of the interval and the timeout: shorter ones are a load, and longer ones detect failures too late.
pub(crate) const WAIT: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(60 * 60);
/// The bounds of the start period.
pub(crate) const START_PERIOD: RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(60 * 60);
/// The bounds of the time until an instance that is critical is removed.
pub(crate) const REMOVAL: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);
/// The maximum of the jitter: with more, a check would be as good as never on time.
pub(crate) const MAX_JITTER: f64 = 0.5;

/// The options that every kind of check has, in the order in which errors list them.
pub(crate) const TIMING_OPTIONS: &[&str] = &[
    "interval",
    "timeout",
    "jitter",
    "start_period",
    "failures_before_critical",
    "successes_before_passing",
    "max_successes_before_passing",
    "deregister_critical_after",
];

/// When a check runs, and how many reports change the health.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CheckTiming {
    /// The time between two checks.
    pub interval: Duration,
    /// The timeout of one check.
    pub timeout: Duration,
    /// The share of the interval by which it varies in both directions.
    pub jitter: f64,
    /// The time in which failures do not count before the first success.
    pub start_period: Duration,
    /// The number of consecutive failures after which an instance is critical.
    pub failures_before_critical: NonZeroU32,
    /// The number of consecutive successes after which a critical instance is passing again.
    pub successes_before_passing: NonZeroU32,
    /// The number to which that grows for an instance that keeps becoming critical again.
    pub max_successes_before_passing: NonZeroU32,
    /// The time after which an instance that stays critical is removed, if it is.
    pub deregister_critical_after: Option<Duration>,
}

/// The settings of one check that replace those of the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct TimingOptions {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    jitter: Option<f64>,
    start_period: Option<Duration>,
    failures_before_critical: Option<NonZeroU32>,
    successes_before_passing: Option<NonZeroU32>,
    max_successes_before_passing: Option<NonZeroU32>,
    deregister_critical_after: Option<Duration>,
}

// === impl TimingOptions ===

impl TimingOptions {
    pub(crate) fn parse(options: &mut CheckOptions) -> Result<Self, String> {
        Ok(Self {
            interval: duration(options, "interval", WAIT)?,
            timeout: duration(options, "timeout", WAIT)?,
            jitter: bounded(options, "jitter", 0.0..=MAX_JITTER)?,
            start_period: duration(options, "start_period", START_PERIOD)?,
            failures_before_critical: options.parsed("failures_before_critical")?,
            successes_before_passing: options.parsed("successes_before_passing")?,
            max_successes_before_passing: options.parsed("max_successes_before_passing")?,
            deregister_critical_after: duration(options, "deregister_critical_after", REMOVAL)?,
        })
    }

    /// Replaces the settings of the monitor.
    pub(crate) fn over(&self, config: &HealthConfig) -> CheckTiming {
        CheckTiming {
            interval: self.interval.unwrap_or(config.interval),
            timeout: self.timeout.unwrap_or(config.timeout),
            jitter: self.jitter.unwrap_or(config.jitter),
            start_period: self.start_period.unwrap_or(config.start_period),
            failures_before_critical: self
                .failures_before_critical
                .unwrap_or(config.failures_before_critical),
            successes_before_passing: self
                .successes_before_passing
                .unwrap_or(config.successes_before_passing),
            max_successes_before_passing: self
                .max_successes_before_passing
                .unwrap_or(config.max_successes_before_passing),
            deregister_critical_after: self
                .deregister_critical_after
                .or(config.deregister_critical_after),
        }
    }

    /// Does the same for an instance of another, whose registrant must not determine the load of this process: its checks are
    /// not more frequent and do not take longer than those of the monitor.
    pub(crate) fn within(&self, config: &HealthConfig) -> CheckTiming {
        let timing = self.over(config);
        CheckTiming {
            interval: timing.interval.max(config.interval),
            timeout: timing.timeout.min(config.timeout),
            ..timing
        }
    }
}

// === impl CheckTiming ===

impl From<&HealthConfig> for CheckTiming {
    fn from(config: &HealthConfig) -> Self {
        TimingOptions::default().over(config)
    }
}

fn duration(
    options: &mut CheckOptions,
    name: &str,
    bounds: RangeInclusive<Duration>,
) -> Result<Option<Duration>, String> {
    let Some(text) = options.text(name) else { return Ok(None) };
    let duration = parse_duration(text).map_err(|error| format!("{name}: {error}"))?;
    check_duration(duration, &bounds).map_err(|error| format!("{name}: {error}"))?;
    Ok(Some(duration))
}

/// Checks that a duration is within its bounds.
pub(crate) fn check_duration(
    duration: Duration,
    bounds: &RangeInclusive<Duration>,
) -> Result<(), String> {
    if bounds.contains(&duration) {
        return Ok(());
    }
    let [given, least, most] = [duration, *bounds.start(), *bounds.end()].map(format_duration);
    Err(format!("{given} is out of bounds, expected {least} to {most}"))
}

fn bounded<T: FromStr<Err: Display> + PartialOrd + Display>(
    options: &mut CheckOptions,
    name: &str,
    bounds: RangeInclusive<T>,
) -> Result<Option<T>, String> {
    let Some(value) = options.parsed::<T>(name)? else { return Ok(None) };
    match bounds.contains(&value) {
        true => Ok(Some(value)),
        false => Err(format!(
            "{name}: {value} is out of bounds, expected {} to {}",
            bounds.start(),
            bounds.end()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TimingOptions, String> {
        TimingOptions::parse(&mut CheckOptions::parse(text)?)
    }

    #[test]
    fn options_replace_the_settings_of_the_monitor() {
        let config = HealthConfig::default();
        let options = "interval=5s&timeout=100ms&jitter=0&start_period=30s&failures_before_critical=3\
                       &successes_before_passing=1&max_successes_before_passing=8&deregister_critical_after=5m";
        let timing = parse(options).unwrap().over(&config);
        let number = |number| NonZeroU32::new(number).unwrap();
        let expected = CheckTiming {
            interval: Duration::from_secs(5),
            timeout: Duration::from_millis(100),
            jitter: 0.0,
            start_period: Duration::from_secs(30),
            failures_before_critical: number(3),
            successes_before_passing: number(1),
            max_successes_before_passing: number(8),
            deregister_critical_after: Some(Duration::from_secs(300)),
        };
        assert_eq!(timing, expected);
        assert_eq!(TimingOptions::default().over(&config), CheckTiming::from(&config));
    }

    #[test]
    fn instance_of_another_does_not_increase_the_load() {
        let config = HealthConfig::default();
        let timing = parse("interval=10ms&timeout=1h").unwrap().within(&config);
        assert_eq!((timing.interval, timing.timeout), (config.interval, config.timeout));
        let rarer = parse("interval=1m&timeout=100ms").unwrap().within(&config);
        assert_eq!(rarer.interval, Duration::from_secs(60));
        assert_eq!(rarer.timeout, Duration::from_millis(100));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for (text, part) in [
            ("interval=1ms", "interval: 1ms is out of bounds, expected 10ms to 1h"),
            ("interval=5", "interval: "),
            ("timeout=2h", "timeout: 2h is out of bounds"),
            ("jitter=0.9", "jitter: 0.9 is out of bounds, expected 0 to 0.5"),
            ("jitter=NaN", "jitter: NaN is out of bounds"),
            ("start_period=2h", "start_period: 2h is out of bounds, expected 0s to 1h"),
            ("deregister_critical_after=10ms", "10ms is out of bounds, expected 1s to 168h"),
            ("failures_before_critical=0", "failures_before_critical: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
