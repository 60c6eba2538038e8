//! How many leases each service, and the user altogether, may hold, counted by all processes in
//! one place.
//!
//! A lease is counted before it is granted and until it has ended, so a count is never too low. It
//! is too high where somebody was killed in between, where a lease ended with its owner and nobody
//! has taken its port since, or where two services share a count. So a count that is below the
//! quota is proof enough, and one that is not means only: look at the leases themselves.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::record::Tally;
use crate::word::Word;

/// How many numbers the counts are.
pub(crate) const WORDS: usize = ALL + 1;
/// The place of the count of all.
const ALL: usize = 4096;

/// How many leases there may be at once; any number, where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Of one service.
    pub per_service: Option<u32>,
    /// Of one user.
    pub per_user: Option<u32>,
}

/// A quota is used up, as far as the counts tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// Whether it is the user's, and not the service's.
    pub of_user: bool,
    /// The quota.
    pub quota: u32,
}

/// A lease that is counted already and not granted yet. Dropping it counts it back.
#[derive(Debug)]
pub struct Counted<'a> {
    counts: Counts<'a, AtomicU64>,
    tally: Tally,
}

/// The counts in the table.
#[derive(Debug)]
pub(crate) struct Counts<'a, W> {
    pub(crate) of_services: &'a [W],
    pub(crate) of_all: &'a W,
}

// === impl Counts ===

impl<'a, W: Word> Counts<'a, W> {
    /// Those that are in these words, of which there are [`WORDS`].
    pub(crate) fn new(words: &'a [W]) -> Self {
        Self { of_services: &words[..ALL], of_all: &words[ALL] }
    }

    /// Counts one lease more, where the quota allows it.
    pub(crate) fn add(&self, tally: Tally, quota: Quota) -> Result<(), Crowd> {
        self.add_anyway(tally);
        match self.crowd(tally, quota) {
            Some(crowd) => {
                self.remove(tally);
                Err(crowd)
            }
            None => Ok(()),
        }
    }

    /// Counts one lease more, whatever the quota.
    pub(crate) fn add_anyway(&self, tally: Tally) {
        self.of_services[tally.first()].add(1);
        self.of_all.add(1);
    }

    /// Counts one lease less.
    pub(crate) fn remove(&self, tally: Tally) {
        self.of_services[tally.first()].subtract(1);
        self.of_all.subtract(1);
    }

    /// Whether there are more than the quota says.
    pub(crate) fn crowd(&self, tally: Tally, quota: Quota) -> Option<Crowd> {
        let of_service = (false, &self.of_services[tally.first()], quota.per_service);
        let of_all = (true, self.of_all, quota.per_user);
        [of_service, of_all].into_iter().find_map(|(of_user, word, quota)| {
            let quota = quota.filter(|quota| count(word) > u64::from(*quota))?;
            Some(Crowd { of_user, quota })
        })
    }
}

/// Less than nothing, as a damaged table may say, is nothing.
fn count<W: Word>(word: &W) -> u64 {
    word.load(Relaxed).cast_signed().max(0).cast_unsigned()
}

// === impl Counted ===

impl<'a> Counted<'a> {
    /// One that these counts have in them.
    pub(crate) fn new(counts: Counts<'a, AtomicU64>, tally: Tally) -> Self {
        Self { counts, tally }
    }

    /// What it is counted as.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// From now on the lease itself stands for it.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counts.remove(self.tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn tally(service: &str) -> Tally {
        Tally::of(&"test".parse().unwrap(), &service.parse().unwrap())
    }

    #[test]
    fn a_service_has_as_many_leases_as_its_quota_says() {
        let words = words();
        let counts = Counts::new(&words);
        let quota = Quota { per_service: Some(2), per_user: Some(3) };
        counts.add(tally("api"), quota).unwrap();
        counts.add(tally("api"), quota).unwrap();
        let crowd = counts.add(tally("api"), quota).unwrap_err();
        assert_eq!(crowd, Crowd { of_user: false, quota: 2 });
        counts.add(tally("web"), quota).unwrap();
        let crowd = counts.add(tally("web"), quota).unwrap_err();
        assert_eq!(crowd, Crowd { of_user: true, quota: 3 });
        counts.remove(tally("api"));
        counts.add(tally("web"), quota).unwrap();
        assert!(counts.add(tally("api"), Quota::default()).is_ok(), "no quota is no limit");
    }

    #[test]
    fn what_is_not_granted_is_not_counted() {
        let words = words();
        let quota = Quota { per_service: Some(1), per_user: None };
        let add = || {
            let counts = Counts::new(&words);
            counts.add(tally("api"), quota).map(|()| Counted::new(counts, tally("api")))
        };
        drop(add().unwrap());
        add().unwrap().keep();
        assert!(add().is_err());
        assert_eq!(count(&words[ALL]), 1, "a refusal leaves nothing behind");
    }

    #[test]
    fn a_count_below_nothing_is_nothing() {
        let words = words();
        Counts::new(&words).remove(tally("api"));
        assert_eq!(count(&words[ALL]), 0);
    }
}
