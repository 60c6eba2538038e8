//! How often ports are granted to each service, and to the user altogether, counted by all
//! processes in one place.
//!
//! The generic cell rate algorithm (ITU-T I.371): one number says when the next grant would be due
//! if all came evenly, and a grant is refused while that lies more than a burst ahead. The number
//! is in the table and so not to be trusted: one that lies further ahead than it ever could, as
//! after the clock was set back, counts as none.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::record::Tally;

/// How many numbers the rates are.
pub(crate) const WORDS: usize = ALL + 1;
/// The place of the rate of all.
const ALL: usize = 4096;

/// How many grants there may be in a second, each second's worth of them also at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

/// The rates in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates<'a>(pub(crate) &'a [AtomicU64]);

/// How far ahead a burst may reach, in nanoseconds.
const BURST: u64 = 1_000_000_000;

// === impl Rate ===

impl Rate {
    /// This many a second.
    pub const fn per_second(grants: NonZeroU32) -> Self {
        Self(grants)
    }

    fn interval(self) -> u64 {
        BURST / u64::from(self.0.get())
    }
}

// === impl Rates ===

impl Rates<'_> {
    /// Counts one grant of a service, or tells how long it is too early. `now` is in nanoseconds.
    ///
    /// A service has two places and is refused only where both are exhausted: that another one has
    /// exhausted both of them is next to impossible.
    pub(crate) fn take(self, tally: Tally, now: u64, rate: Rate) -> Result<(), Duration> {
        let places = [tally.first(), tally.second()];
        let [one, other] = places.map(|place| take(&self.0[place], now, rate));
        one.or(other)
    }

    /// Counts one grant of all.
    pub(crate) fn take_of_all(self, now: u64, rate: Rate) -> Result<(), Duration> {
        take(&self.0[ALL], now, rate)
    }
}

fn take(due: &AtomicU64, now: u64, rate: Rate) -> Result<(), Duration> {
    let next = |due: u64| {
        let due = if due > now.saturating_add(BURST) { now } else { due.max(now) };
        due.saturating_add(rate.interval())
    };
    let limit = now.saturating_add(BURST);
    let taken = due.fetch_update(Relaxed, Relaxed, |due| Some(next(due)).filter(|at| *at <= limit));
    match taken {
        Ok(_) => Ok(()),
        Err(due) => Err(Duration::from_nanos(next(due) - limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = BURST;

    fn rate(grants: u32) -> Rate {
        Rate::per_second(NonZeroU32::new(grants).unwrap())
    }

    fn words() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn tally(service: &str) -> Tally {
        Tally::of(&"test".parse().unwrap(), &service.parse().unwrap())
    }

    #[test]
    fn a_seconds_worth_is_granted_at_once_and_then_one_by_one() {
        let words = words();
        let take = |now| Rates(&words).take(tally("api"), now, rate(4));
        let start = 7 * SECOND;
        assert!((0..4).all(|_| take(start).is_ok()));
        assert_eq!(take(start), Err(Duration::from_millis(250)));
        assert_eq!(take(start + SECOND / 8), Err(Duration::from_millis(125)));
        assert!(take(start + SECOND / 4).is_ok());
        assert!(take(start + SECOND / 4).is_err());
        assert!((0..4).all(|_| take(start + 9 * SECOND).is_ok()), "what was not used is back");
        assert!(take(start + 9 * SECOND).is_err(), "and no more than that");
    }

    #[test]
    fn one_service_does_not_use_up_what_another_may() {
        let words = words();
        let rates = Rates(&words);
        while rates.take(tally("api"), SECOND, rate(100)).is_ok() {}
        assert!(rates.take(tally("web"), SECOND, rate(100)).is_ok());
        assert!((0..10).all(|_| rates.take_of_all(SECOND, rate(10)).is_ok()));
        assert!(rates.take_of_all(SECOND, rate(10)).is_err());
    }

    #[test]
    fn a_time_that_cannot_be_is_not_believed() {
        let words = words();
        words[ALL].store(u64::MAX, Relaxed);
        assert!(Rates(&words).take_of_all(5 * SECOND, rate(1)).is_ok());
        assert!(Rates(&words).take_of_all(5 * SECOND, rate(1)).is_err());
        assert!(Rates(&words).take_of_all(3 * SECOND, rate(1)).is_ok(), "the clock was set back");
    }
}
