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
    counts: Counts<'a>,
    tally: Tally,
}

/// The counts in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts<'a>(pub(crate) &'a [AtomicU64]);

// === impl Counts ===

impl<'a> Counts<'a> {
    /// Counts one lease more, where the quota allows it.
    pub(crate) fn add(self, tally: Tally, quota: Quota) -> Result<Counted<'a>, Crowd> {
        // Counted back when it is dropped, by an early return too.
        let counted = self.add_anyway(tally);
        let places = [(false, tally.first(), quota.per_service), (true, ALL, quota.per_user)];
        for (of_user, place, quota) in places {
            match quota {
                Some(quota) if self.count(place) > u64::from(quota) => {
                    return Err(Crowd { of_user, quota });
                }
                _ => {}
            }
        }
        Ok(counted)
    }

    /// Counts one lease more, whatever the quota.
    pub(crate) fn add_anyway(self, tally: Tally) -> Counted<'a> {
        self.0[tally.first()].fetch_add(1, Relaxed);
        self.0[ALL].fetch_add(1, Relaxed);
        Counted { counts: self, tally }
    }

    /// Counts one lease less.
    pub(crate) fn remove(self, tally: Tally) {
        self.0[tally.first()].fetch_sub(1, Relaxed);
        self.0[ALL].fetch_sub(1, Relaxed);
    }

    /// Less than nothing, as a damaged table may say, is nothing.
    fn count(self, place: usize) -> u64 {
        self.0[place].load(Relaxed).cast_signed().max(0).cast_unsigned()
    }
}

// === impl Counted ===

impl Counted<'_> {
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
        let counts = Counts(&words);
        let quota = Quota { per_service: Some(2), per_user: Some(3) };
        counts.add(tally("api"), quota).unwrap().keep();
        counts.add(tally("api"), quota).unwrap().keep();
        let crowd = counts.add(tally("api"), quota).unwrap_err();
        assert_eq!(crowd, Crowd { of_user: false, quota: 2 });
        counts.add(tally("web"), quota).unwrap().keep();
        let crowd = counts.add(tally("web"), quota).unwrap_err();
        assert_eq!(crowd, Crowd { of_user: true, quota: 3 });
        counts.remove(tally("api"));
        counts.add(tally("web"), quota).unwrap().keep();
        assert!(counts.add(tally("api"), Quota::default()).is_ok(), "no quota is no limit");
    }

    #[test]
    fn what_is_not_granted_is_not_counted() {
        let words = words();
        let counts = Counts(&words);
        let quota = Quota { per_service: Some(1), per_user: None };
        drop(counts.add(tally("api"), quota).unwrap());
        counts.add(tally("api"), quota).unwrap().keep();
        assert!(counts.add(tally("api"), quota).is_err());
        assert_eq!(counts.count(ALL), 1, "a refusal leaves nothing behind");
    }

    #[test]
    fn a_count_below_nothing_is_nothing() {
        let words = words();
        Counts(&words).remove(tally("api"));
        assert_eq!(Counts(&words).count(ALL), 0);
    }
}
