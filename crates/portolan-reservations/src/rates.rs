//! How often ports are granted to each service, and to the user altogether, counted by all
//! processes in one place.
//!
//! The generic cell rate algorithm (ITU-T I.371): one number says when the next grant would be due
//! if all came evenly, and a grant is refused while that lies more than a burst ahead. The number
//! is in the table and so not to be trusted: one that lies further ahead than it ever could, as
//! after the clock was set back, counts as none.
//!
//! A service has two places, and says in the number that the place is its own; where another one is
//! using the first, it goes to the second. One number at a time decides: of two that are asked one
//! after the other, each can have room for one of two who come at once.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::record::Tally;
use crate::word::Word;

/// How many numbers the rates are.
pub(crate) const WORDS: usize = ALL + 1;
/// The place of the rate of all.
const ALL: usize = 4096;

/// How many grants there may be in a second, each second's worth of them also at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

/// The rates in the table.
#[derive(Debug)]
pub(crate) struct Rates<'a, W> {
    of_services: &'a [W],
    of_all: &'a W,
}

/// What one service, or all, may take from.
#[derive(Debug)]
struct Place<'a, W> {
    word: &'a W,
    /// Whose it is while it is in use.
    mark: u64,
}

/// The lower bits say when the next grant would be due, in nanoseconds, and begin anew every seven
/// weeks; the upper ones, whose the place is.
const DUE_BITS: u32 = 52;
const DUE: u64 = (1 << DUE_BITS) - 1;
/// How far ahead a burst may reach, in nanoseconds.
const BURST: u64 = 1_000_000_000;
/// From here on a number is not believed. It is further than a burst because whoever looks may have
/// read the clock some time before whoever wrote it did.
const FARTHEST: u64 = 2 * BURST;

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

impl<'a, W: Word> Rates<'a, W> {
    /// Those that are in these words, of which there are [`WORDS`].
    pub(crate) fn new(words: &'a [W]) -> Self {
        Self { of_services: &words[..ALL], of_all: &words[ALL] }
    }

    /// Counts one grant of a service, or tells how long it is too early. `now` is in nanoseconds.
    ///
    /// It is refused for what others took only where others are using both of its places, which is
    /// next to impossible.
    pub(crate) fn take(&self, tally: Tally, now: u64, rate: Rate) -> Result<(), Duration> {
        let (one, other) = (tally.first(), tally.second());
        let first = Place { word: &self.of_services[one], mark: other as u64 };
        let second = Place { word: &self.of_services[other], mark: one as u64 };
        take([first, second], now, rate)
    }

    /// Counts one grant of all.
    pub(crate) fn take_of_all(&self, now: u64, rate: Rate) -> Result<(), Duration> {
        let all = || Place { word: self.of_all, mark: 0 };
        take([all(), all()], now, rate)
    }
}

// === impl Place ===

impl<W: Word> Place<'_, W> {
    /// How far ahead its owner went here, where it comes back to its first place, which has been
    /// another's since.
    fn left_behind(&self, first: &Self, before: u64, now: u64) -> u64 {
        let comes_back = before >> DUE_BITS != first.mark;
        let word = if comes_back { self.word.load(Relaxed) } else { 0 };
        if comes_back && word >> DUE_BITS == self.mark { ahead(word, now) } else { 0 }
    }
}

/// Counts one grant in the first place, or in the second where another is using the first.
fn take<W: Word>([first, second]: [Place<'_, W>; 2], now: u64, rate: Rate) -> Result<(), Duration> {
    loop {
        let before = first.word.load(Relaxed);
        let is_anothers = before >> DUE_BITS != first.mark && ahead(before, now) > 0;
        let (place, before) = match is_anothers {
            true => (&second, second.word.load(Relaxed)),
            false => (&first, before),
        };
        let ahead = ahead(before, now).max(second.left_behind(&first, before, now));
        let ahead = ahead + rate.interval();
        if ahead > BURST {
            return Err(Duration::from_nanos(ahead - BURST));
        }
        let after = place.mark << DUE_BITS | now.wrapping_add(ahead) & DUE;
        if place.word.compare_exchange(before, after).is_ok() {
            return Ok(());
        }
    }
}

/// How far ahead the next grant is due; 0 where it is so already, or never could be.
fn ahead(word: u64, now: u64) -> u64 {
    let ahead = word.wrapping_sub(now) & DUE;
    if ahead > FARTHEST { 0 } else { ahead }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

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
        let take = |now| Rates::new(&words).take(tally("api"), now, rate(4));
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
        let rates = Rates::new(&words);
        while rates.take(tally("api"), SECOND, rate(100)).is_ok() {}
        assert!(rates.take(tally("web"), SECOND, rate(100)).is_ok());
        assert!((0..10).all(|_| rates.take_of_all(SECOND, rate(10)).is_ok()));
        assert!(rates.take_of_all(SECOND, rate(10)).is_err());
    }

    #[test]
    fn who_was_kept_out_of_its_first_place_has_no_second_burst_when_it_comes_back() {
        let words = words();
        let tally = tally("api");
        // Another one is using the first place until the next grant is due, half a second on.
        let others = u64::from(u16::MAX >> 4) ^ tally.second() as u64;
        words[tally.first()].store((others << DUE_BITS) | (SECOND + SECOND / 2), Relaxed);
        let take = |now| Rates::new(&words).take(tally, now, rate(2));
        assert!(take(SECOND).is_ok() && take(SECOND).is_ok());
        assert!(take(SECOND).is_err());
        assert!(take(SECOND + SECOND / 2).is_ok(), "one is due by now");
        assert!(take(SECOND + SECOND / 2).is_err(), "and only one");
    }

    #[test]
    fn who_read_the_clock_a_moment_ago_gets_no_second_burst() {
        let words = words();
        let take = |now| Rates::new(&words).take(tally("api"), now, rate(100));
        assert!((0..100).all(|_| take(7 * SECOND).is_ok()));
        assert!(take(7 * SECOND - 200_000).is_err(), "it looked at the clock before the others");
        assert!(take(7 * SECOND).is_err(), "and has not begun anew for everybody");
    }

    #[test]
    fn a_time_that_cannot_be_is_not_believed() {
        let words = words();
        words[ALL].store(u64::MAX, Relaxed);
        assert!(Rates::new(&words).take_of_all(5 * SECOND, rate(1)).is_ok());
        assert!(Rates::new(&words).take_of_all(5 * SECOND, rate(1)).is_err());
        assert!(
            Rates::new(&words).take_of_all(3 * SECOND, rate(1)).is_ok(),
            "the clock was set back"
        );
    }
}

#[cfg(test)]
mod model;
