//! The order of concurrent commits: requests that share an id run one after another, in the order
//! of arrival; all others may run at the same time. Without tasks and without a clock.

use std::collections::{HashMap, VecDeque};

use portolan_core::ServiceId;

/// Items that are queued or running, each with the ids that it locks.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    entries: HashMap<Ticket, Entry<T>>,
    /// The tickets that lock an id, in the order of arrival. The first one may run.
    locks: HashMap<ServiceId, VecDeque<Ticket>>,
    ready: VecDeque<Ticket>,
    next: u64,
}

/// An item of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct Entry<T> {
    item: Option<T>,
    ids: Vec<ServiceId>,
    /// How many of its ids are locked by earlier items.
    blocked: usize,
}

// === impl Schedule ===

impl<T> Schedule<T> {
    pub(crate) fn new() -> Self {
        let (entries, locks) = (HashMap::new(), HashMap::new());
        Self { entries, locks, ready: VecDeque::new(), next: 0 }
    }

    /// The number of items that have not finished.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no item that has not finished has one of these ids.
    pub(crate) fn is_free(&self, ids: &[ServiceId]) -> bool {
        self.locks.is_empty() || !ids.iter().any(|id| self.locks.contains_key(id))
    }

    /// Adds an item. All its ids are queued for at once, so items cannot deadlock.
    pub(crate) fn push(&mut self, ids: Vec<ServiceId>, item: T) {
        self.add(ids, Some(item));
    }

    /// Locks ids that are [free](Self::is_free), for an item that runs already.
    pub(crate) fn lock(&mut self, ids: Vec<ServiceId>) -> Ticket {
        self.add(ids, None)
    }

    fn add(&mut self, mut ids: Vec<ServiceId>, item: Option<T>) -> Ticket {
        ids.sort_unstable();
        ids.dedup();
        let ticket = Ticket(self.next);
        self.next += 1;
        let mut blocked = 0;
        for id in &ids {
            let queue = self.locks.entry(id.clone()).or_default();
            blocked += usize::from(!queue.is_empty());
            queue.push_back(ticket);
        }
        if blocked == 0 && item.is_some() {
            self.ready.push_back(ticket);
        }
        self.entries.insert(ticket, Entry { item, ids, blocked });
        ticket
    }

    /// Takes the next item that may run. Its ids stay locked until it finishes.
    pub(crate) fn start(&mut self) -> Option<(Ticket, T)> {
        let ticket = self.ready.pop_front()?;
        let item = self.entries.get_mut(&ticket)?.item.take()?;
        Some((ticket, item))
    }

    /// Unlocks the ids of an item that has run.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        let Some(Entry { ids, .. }) = self.entries.remove(&ticket) else { return };
        for id in ids {
            let Some(queue) = self.locks.get_mut(&id) else { continue };
            queue.pop_front();
            let Some(next) = queue.front().copied() else {
                self.locks.remove(&id);
                continue;
            };
            if let Some(entry) = self.entries.get_mut(&next) {
                entry.blocked -= 1;
                if entry.blocked == 0 {
                    self.ready.push_back(next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> ServiceId {
        format!("id-{number}").parse().unwrap()
    }

    proptest! {
        /// Whatever finishes first: every item runs, never two with a common id at the same time,
        /// and those with a common id in the order of arrival.
        #[test]
        fn items_with_a_common_id_run_one_after_another(
            items in proptest::collection::vec(proptest::collection::vec(0..6u8, 1..4), 1..40),
            choices in proptest::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut schedule = Schedule::new();
            let mut running: Vec<(Ticket, usize)> = Vec::new();
            let mut started = Vec::new();
            for (number, ids) in items.iter().enumerate() {
                let ids: Vec<_> = ids.iter().copied().map(id).collect();
                // Some run at once if they can.
                if number % 2 == 0 && schedule.is_free(&ids) {
                    let shares = |other: &usize| items[*other].iter().any(|it| items[number].contains(it));
                    prop_assert!(!(0..number).any(|other| shares(&other)));
                    running.push((schedule.lock(ids), number));
                    started.push(number);
                } else {
                    schedule.push(ids, number);
                }
            }
            let mut choices = choices.into_iter().cycle();
            while schedule.len() > 0 {
                while let Some((ticket, number)) = schedule.start() {
                    let shares = |other: &usize| items[*other].iter().any(|id| items[number].contains(id));
                    prop_assert!(!running.iter().any(|(_, other)| shares(other)));
                    prop_assert!(!started.iter().any(|other| *other > number && shares(other)));
                    running.push((ticket, number));
                    started.push(number);
                }
                let choice = choices.next().unwrap().index(running.len());
                schedule.finish(running.swap_remove(choice).0);
            }
            prop_assert_eq!(started.len(), items.len());
            prop_assert!(schedule.locks.is_empty());
        }
    }
}
