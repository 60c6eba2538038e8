//! The rates, when several take of them at once.

use std::num::NonZeroU32;
use std::sync::Arc;

use loom::thread;

use super::*;
use crate::model::{AtomicU64, InTwoSteps, ModelWord, check, is_found_wrong};

const NOW: u64 = 7 * BURST;

/// The places of three services, of which this one and another share the first.
fn rates<W: ModelWord>() -> Arc<[W]> {
    (0..4).map(|_| W::new(0)).collect()
}

fn tally(first: u64, second: u64) -> Tally {
    Tally::from_word(second << 12 | first)
}

/// Whether the service is granted one more, of so many a second.
fn take<W: Word>(words: &[W], tally: Tally, grants: u32) -> bool {
    let rate = Rate::per_second(NonZeroU32::new(grants).expect("a rate"));
    RateLimiter { of_services: &words[..3], of_user: &words[3] }
        .acquire_for_service(tally, NOW, rate)
        .is_ok()
}

/// Several take at once of what there are so many of.
fn taking<W: ModelWord>(takers: usize, grants: u32) {
    check(move || {
        let words = rates::<W>();
        let take = || {
            let words = words.clone();
            thread::spawn(move || take(&words, tally(0, 1), grants))
        };
        let takers: Vec<_> = (0..takers).map(|_| take()).collect();
        let granted = takers.into_iter().filter_map(|taker| taker.join().ok());
        assert_eq!(granted.filter(|granted| *granted).count(), grants as usize);
    });
}

#[test]
fn of_several_at_once_as_many_are_granted_as_a_burst_has() {
    for (takers, grants) in [(2, 1), (3, 1), (3, 2)] {
        taking::<AtomicU64>(takers, grants);
    }
}

#[test]
fn a_rate_that_is_read_first_and_written_then_is_found() {
    assert!(is_found_wrong(|| taking::<InTwoSteps>(2, 1)));
}

#[test]
fn a_service_is_not_refused_for_what_another_uses_up() {
    check(|| {
        let words = rates::<AtomicU64>();
        let others = words.clone();
        let others =
            thread::spawn(move || (0..3).filter(|_| take(&others, tally(0, 1), 1)).count());
        assert!(take(&words, tally(0, 2), 1));
        assert_eq!(others.join().expect("an end"), 1);
    });
}
