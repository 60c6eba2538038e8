//! Model of the rate limiter with concurrent callers.

use std::num::NonZeroU32;
use std::sync::Arc;

use loom::thread;

use super::*;
use crate::model::{AtomicU64, InTwoSteps, ModelWord, check, fails};

const NOW: u64 = 7 * BURST;

/// Three buckets of services and the one of the user.
fn buckets<W: ModelWord>() -> Arc<[W]> {
    (0..4).map(|_| W::new(0)).collect()
}

fn key(first: u64, second: u64) -> ServiceKey {
    ServiceKey::from_word(second << 12 | first)
}

/// Whether the service is granted one more, at this rate a second.
fn acquire<W: AtomicWord>(words: &[W], key: ServiceKey, grants: u32) -> bool {
    let rate = Rate::per_second(NonZeroU32::new(grants).expect("a rate"));
    RateLimiter { of_services: &words[..3], of_user: &words[3] }
        .acquire_for_service(key, NOW, rate)
        .is_ok()
}

/// Several callers acquire at once from a burst of so many grants.
fn check_burst<W: ModelWord>(callers: usize, grants: u32) {
    check(move || {
        let words = buckets::<W>();
        let start = || {
            let words = words.clone();
            thread::spawn(move || acquire(&words, key(0, 1), grants))
        };
        let callers: Vec<_> = (0..callers).map(|_| start()).collect();
        let granted = callers.into_iter().filter_map(|caller| caller.join().ok());
        assert_eq!(granted.filter(|granted| *granted).count(), grants as usize);
    });
}

#[test]
fn concurrent_callers_are_granted_exactly_one_burst() {
    for (callers, grants) in [(2, 1), (3, 1), (3, 2)] {
        check_burst::<AtomicU64>(callers, grants);
    }
}

#[test]
fn update_that_is_not_atomic_fails_the_model() {
    assert!(fails(|| check_burst::<InTwoSteps>(2, 1)));
}

#[test]
fn service_is_not_refused_for_grants_of_another_service() {
    check(|| {
        let words = buckets::<AtomicU64>();
        let others = words.clone();
        let others =
            thread::spawn(move || (0..3).filter(|_| acquire(&others, key(0, 1), 1)).count());
        assert!(acquire(&words, key(0, 2), 1));
        assert_eq!(others.join().expect("the thread completes"), 1);
    });
}
