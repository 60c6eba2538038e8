//! Answers to lookups of one service, kept as bytes until the service changes.
//!
//! Most lookups repeat one that was answered before. Encoding its instances anew takes most of the time of such a lookup, so
//! the caller that has encoded them leaves the bytes here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use portolan_core::Vantage;
use portolan_metrics::LookupCounter;

/// How many different lookups of one service are kept.
const PER_SERVICE: usize = 4;
/// The largest answer that is kept, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How much memory the answers of all services take, in bytes. While it is used up, no more are kept.
const BUDGET: usize = 32 * 1024 * 1024;

/// A lookup, as its sender wrote it, and where it was sent from: both decide what the answer is.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// The query of the request, not decoded.
    pub query: &'a str,
    /// Where the caller is.
    pub vantage: Vantage,
}

/// The answer to a lookup.
#[derive(Debug, Clone)]
pub struct PreparedAnswer {
    /// The body.
    pub body: Bytes,
    /// The entity tag.
    pub tag: Bytes,
    /// Whether it has instances.
    pub found: bool,
}

/// The state of a service at one moment. No two changes, of any services, have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64);

/// The answers of one service.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    query: Box<str>,
    vantage: Vantage,
    answer: PreparedAnswer,
    counter: Arc<LookupCounter>,
    _share: Share,
}

/// The memory that all answers take.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A part of the budget. Dropping it gives it back.
#[derive(Debug)]
struct Share {
    budget: Budget,
    bytes: usize,
}

// === impl Answers ===

impl Answers {
    /// Returns the answer to the same lookup, and what counts it.
    pub(super) fn get(&self, lookup: Lookup<'_>) -> Option<(PreparedAnswer, Arc<LookupCounter>)> {
        let kept = self.0.lock();
        let one = kept.iter().find(|one| one.is_of(lookup))?;
        Some((one.answer.clone(), Arc::clone(&one.counter)))
    }

    /// Keeps an answer if there is room for it. The oldest one of the service goes if it has several.
    pub(super) fn keep(
        &self,
        lookup: Lookup<'_>,
        answer: PreparedAnswer,
        counter: LookupCounter,
        budget: &Budget,
    ) {
        let bytes = lookup.query.len() + answer.body.len();
        if bytes > MAX_ANSWER {
            return;
        }
        let mut kept = self.0.lock();
        if kept.iter().any(|one| one.is_of(lookup)) {
            return;
        }
        if kept.len() == PER_SERVICE {
            kept.remove(0);
        }
        let Some(share) = budget.take(bytes) else { return };
        let Lookup { query, vantage } = lookup;
        let (query, counter) = (query.into(), Arc::new(counter));
        kept.push(Kept { query, vantage, answer, counter, _share: share });
    }

    pub(super) fn clear(&mut self) {
        self.0.get_mut().clear();
    }
}

// === impl Kept ===

impl Kept {
    fn is_of(&self, lookup: Lookup<'_>) -> bool {
        *self.query == *lookup.query && self.vantage == lookup.vantage
    }
}

// === impl Budget ===

impl Budget {
    fn take(&self, bytes: usize) -> Option<Share> {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= BUDGET);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Share { budget: self.clone(), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

// === impl Stamp ===

impl Stamp {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use portolan_metrics::{Metrics, OperationResult};

    use super::*;

    const HERE: Vantage = Vantage::SameHost;

    fn answer(length: usize) -> PreparedAnswer {
        PreparedAnswer { body: vec![b'x'; length].into(), tag: Bytes::new(), found: true }
    }

    fn counter() -> LookupCounter {
        Metrics::new().lookup_counter("api", OperationResult::Success)
    }

    fn found(answers: &Answers, query: &str) -> Option<usize> {
        answers.get(lookup(query)).map(|(answer, _)| answer.body.len())
    }

    fn lookup(query: &str) -> Lookup<'_> {
        Lookup { query, vantage: HERE }
    }

    #[test]
    fn answer_is_that_of_the_same_query_from_the_same_place() {
        let (answers, budget) = (Answers::default(), Budget::default());
        answers.keep(lookup("name=api"), answer(1), counter(), &budget);
        answers.keep(lookup("name=api&limit=1"), answer(2), counter(), &budget);
        assert_eq!(found(&answers, "name=api"), Some(1));
        assert_eq!(found(&answers, "name=api&limit=1"), Some(2));
        assert_eq!(found(&answers, "name=api&limit=2"), None);
        let elsewhere = Lookup { query: "name=api", vantage: Vantage::UNKNOWN };
        assert!(answers.get(elsewhere).is_none());
    }

    #[test]
    fn oldest_answer_of_a_service_goes_first() {
        let (answers, budget) = (Answers::default(), Budget::default());
        let queries: Vec<_> = (0..=PER_SERVICE).map(|limit| format!("limit={limit}")).collect();
        queries.iter().for_each(|query| answers.keep(lookup(query), answer(1), counter(), &budget));
        assert!(answers.get(lookup(&queries[0])).is_none());
        assert!(queries[1..].iter().all(|query| answers.get(lookup(query)).is_some()));
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let budget = Budget::default();
        let mut services: Vec<_> = (0..1000).map(|_| Answers::default()).collect();
        services[0].keep(lookup("large"), answer(MAX_ANSWER), counter(), &budget);
        assert!(services[0].get(lookup("large")).is_none());
        let keep = |service: &Answers| {
            service.keep(lookup("q"), answer(MAX_ANSWER - 1), counter(), &budget);
            service.get(lookup("q")).is_some()
        };
        assert_eq!(services.iter().filter(|service| keep(service)).count(), BUDGET / MAX_ANSWER);
        assert!(!keep(&Answers::default()));
        services[0].clear();
        assert!(keep(&Answers::default()));
        drop(services);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
