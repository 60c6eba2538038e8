//! Rate limits shared by all processes: how many ports a second each service, and the user, may be
//! granted.
//!
//! The generic cell rate algorithm (ITU-T I.371): a bucket holds the theoretical arrival time of the
//! next grant, and a grant is refused if that time is more than a burst ahead. The state is one word,
//! so that a compare-and-swap updates it.
//!
//! A service has two buckets and uses the second one while another service uses the first, so that
//! services whose keys collide do not slow each other down. A *tag* in the word names the service
//! and is a checksum of the time. A word with another tag belongs to another service or is damaged,
//! and refuses nothing: damage to a rate never denies a port. Any change of a single byte is detected.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::atomic::AtomicWord;
use crate::record::ServiceKey;

/// How many words the rate limits take up.
pub(crate) const WORDS: usize = USER + 1;
/// The index of the user's bucket, which follows those of the services.
const USER: usize = ServiceKey::BUCKETS;

/// A number of grants a second, which may also come in one burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

/// The buckets in the table.
#[derive(Debug)]
pub(crate) struct RateLimiter<'a, W> {
    of_services: &'a [W],
    of_user: &'a W,
}

/// A word that stores how much of a rate is used up.
#[derive(Debug)]
struct Bucket<'a, W> {
    word: &'a W,
    /// Identifies the service among those that share the word.
    mark: u64,
}

/// The lower bits of a word are the theoretical arrival time in nanoseconds, which wraps around every
/// seven weeks; the upper ones are the tag.
const TIME_BITS: u32 = 52;
const TIME: u64 = (1 << TIME_BITS) - 1;
const TAG_BITS: u32 = 64 - TIME_BITS;
const TAG: u64 = (1 << TAG_BITS) - 1;
/// The longest burst, in nanoseconds.
const BURST: u64 = 1_000_000_000;
/// A time further ahead than this is ignored: the clock was set back. It is more than a burst because
/// a process may have read the clock before the process that wrote the word did.
const MAX_AHEAD: u64 = 2 * BURST;

// === impl Rate ===

impl Rate {
    /// The rate of this many grants a second.
    pub const fn per_second(grants: NonZeroU32) -> Self {
        Self(grants)
    }

    fn interval(self) -> u64 {
        BURST / u64::from(self.0.get())
    }
}

// === impl RateLimiter ===

impl<'a, W: AtomicWord> RateLimiter<'a, W> {
    /// The limiter in these words, of which there are [`WORDS`].
    pub(crate) fn new(words: &'a [W]) -> Self {
        Self { of_services: &words[..USER], of_user: &words[USER] }
    }

    /// Counts one grant of a service, or returns how long to wait. `now` is in nanoseconds.
    pub(crate) fn acquire_for_service(
        &self,
        key: ServiceKey,
        now: u64,
        rate: Rate,
    ) -> Result<(), Duration> {
        let (one, other) = (key.first_bucket(), key.second_bucket());
        let first = Bucket { word: &self.of_services[one], mark: other as u64 };
        let second = Bucket { word: &self.of_services[other], mark: one as u64 };
        acquire([first, second], now, rate)
    }

    /// Counts one grant of the user, or returns how long to wait. `now` is in nanoseconds.
    pub(crate) fn acquire_for_user(&self, now: u64, rate: Rate) -> Result<(), Duration> {
        let bucket = || Bucket { word: self.of_user, mark: 0 };
        acquire([bucket(), bucket()], now, rate)
    }
}

/// Counts one grant in the first bucket, or in the second one while another service uses the first.
fn acquire<W: AtomicWord>(
    [first, second]: [Bucket<'_, W>; 2],
    now: u64,
    rate: Rate,
) -> Result<(), Duration> {
    loop {
        let in_first = first.word.load(Relaxed);
        let is_first_ours = first.owns(in_first);
        let (bucket, before) = match is_first_ours || ahead(in_first, now) == 0 {
            true => (&first, in_first),
            false => (&second, second.word.load(Relaxed)),
        };
        // A service that returns to its first bucket does not get a second burst.
        let left_in_second = match is_first_ours {
            true => 0,
            false => second.used(second.word.load(Relaxed), now),
        };
        let ahead = bucket.used(before, now).max(left_in_second) + rate.interval();
        if ahead > BURST {
            return Err(Duration::from_nanos(ahead - BURST));
        }
        let after = bucket.pack(now.wrapping_add(ahead));
        if bucket.word.compare_exchange(before, after).is_ok() {
            return Ok(());
        }
    }
}

/// How far ahead of `now` the time in a word is; 0 if it has passed or cannot be right.
fn ahead(word: u64, now: u64) -> u64 {
    let ahead = word.wrapping_sub(now) & TIME;
    if ahead > MAX_AHEAD { 0 } else { ahead }
}

// === impl Bucket ===

impl<W> Bucket<'_, W> {
    fn pack(&self, time: u64) -> u64 {
        self.tag(time) << TIME_BITS | time & TIME
    }

    fn owns(&self, word: u64) -> bool {
        word == self.pack(word)
    }

    /// How much of the burst a word of this bucket says is used up.
    fn used(&self, word: u64, now: u64) -> u64 {
        if self.owns(word) { ahead(word, now) } else { 0 }
    }

    /// The mark and the checksum: the time folded into as many bits as a tag has. It is rotated by four
    /// so that the bits of a byte that is half tag, half time change different bits of the tag.
    fn tag(&self, time: u64) -> u64 {
        let chunks = (0..TIME_BITS).step_by(TAG_BITS as usize);
        let fold = chunks.fold(0, |fold, shift| fold ^ (time & TIME) >> shift & TAG);
        self.mark ^ (fold << 4 | fold >> (TAG_BITS - 4)) & TAG
    }
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

    fn key(service: &str) -> ServiceKey {
        ServiceKey::new(&"test".parse().unwrap(), &service.parse().unwrap())
    }

    fn limiter(words: &[AtomicU64]) -> RateLimiter<'_, AtomicU64> {
        RateLimiter::new(words)
    }

    #[test]
    fn burst_is_granted_at_once_and_then_one_grant_per_interval() {
        let words = words();
        let acquire = |now| limiter(&words).acquire_for_service(key("api"), now, rate(4));
        let start = 7 * SECOND;
        assert!((0..4).all(|_| acquire(start).is_ok()));
        assert_eq!(acquire(start), Err(Duration::from_millis(250)));
        assert_eq!(acquire(start + SECOND / 8), Err(Duration::from_millis(125)));
        assert!(acquire(start + SECOND / 4).is_ok());
        assert!(acquire(start + SECOND / 4).is_err());
        assert!(
            (0..4).all(|_| acquire(start + 9 * SECOND).is_ok()),
            "the burst is available again"
        );
        assert!(acquire(start + 9 * SECOND).is_err(), "unused grants do not accumulate");
    }

    #[test]
    fn services_and_user_have_separate_limits() {
        let words = words();
        let limiter = limiter(&words);
        while limiter.acquire_for_service(key("api"), SECOND, rate(100)).is_ok() {}
        assert!(limiter.acquire_for_service(key("web"), SECOND, rate(100)).is_ok());
        assert!((0..10).all(|_| limiter.acquire_for_user(SECOND, rate(10)).is_ok()));
        assert!(limiter.acquire_for_user(SECOND, rate(10)).is_err());
    }

    #[test]
    fn service_that_returns_to_its_first_bucket_gets_no_second_burst() {
        let words = words();
        let key = key("api");
        let word = &words[key.first_bucket()];
        // Another service uses the first bucket for the next half second.
        let other = Bucket { word, mark: TAG ^ key.second_bucket() as u64 };
        word.store(other.pack(SECOND + SECOND / 2), Relaxed);
        let acquire = |now| limiter(&words).acquire_for_service(key, now, rate(2));
        assert!(acquire(SECOND).is_ok() && acquire(SECOND).is_ok());
        assert!(acquire(SECOND).is_err());
        assert!(acquire(SECOND + SECOND / 2).is_ok(), "half of the burst is available again");
        assert!(acquire(SECOND + SECOND / 2).is_err());
    }

    #[test]
    fn caller_with_an_older_clock_reading_gets_no_second_burst() {
        let words = words();
        let acquire = |now| limiter(&words).acquire_for_service(key("api"), now, rate(100));
        assert!((0..100).all(|_| acquire(7 * SECOND).is_ok()));
        assert!(acquire(7 * SECOND - 200_000).is_err(), "it read the clock before the others did");
        assert!(acquire(7 * SECOND).is_err(), "and did not reset the bucket");
    }

    #[test]
    fn time_that_is_impossibly_far_ahead_is_ignored() {
        let words = words();
        let acquire = |now| limiter(&words).acquire_for_user(now, rate(1));
        assert!(acquire(5 * SECOND).is_ok());
        assert!(acquire(5 * SECOND).is_err());
        assert!(acquire(3 * SECOND).is_ok(), "the clock was set back");
    }

    /// Half of the burst is used up; whatever becomes of any byte of a bucket, at any later moment,
    /// the other half is granted.
    #[test]
    fn damage_to_any_byte_of_a_bucket_denies_no_grant() {
        const LEFT: usize = 4;
        let (words, key, start) = (words(), key("api"), 1_700_000_000 * SECOND);
        let acquire = |now| {
            let limiter = limiter(&words);
            let rate = rate(2 * LEFT as u32);
            limiter.acquire_for_user(now, rate)?;
            limiter.acquire_for_service(key, now, rate)
        };
        (0..LEFT).for_each(|_| acquire(start).unwrap());
        let indices = [key.first_bucket(), key.second_bucket(), USER];
        let before = indices.map(|index| words[index].load(Relaxed));
        let restore =
            || indices.iter().zip(before).for_each(|(i, word)| words[*i].store(word, Relaxed));
        for (index, word) in indices.into_iter().zip(before) {
            for (byte, change) in (0..8).flat_map(|byte| (1..=255).map(move |it| (byte, it))) {
                for now in (0..30).map(|tenth| start + tenth * SECOND / 10) {
                    words[index].store(word ^ change << (8 * byte), Relaxed);
                    for _ in 0..LEFT {
                        let granted = acquire(now);
                        assert_eq!(granted, Ok(()), "byte {byte} ^ {change:#x} of word {index}");
                    }
                    restore();
                }
            }
        }
    }
}

#[cfg(test)]
mod model;
