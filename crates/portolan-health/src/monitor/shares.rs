//! Shares of the concurrent checks: nobody's instances keep those of others from being checked.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of all concurrent checks that the instances of one registrant may take.
const REGISTRANT: usize = 4;
/// The part that the instances on one host may take.
const HOST: usize = 8;

/// The semaphores: one for all checks, and one for each registrant and host that has checks.
#[derive(Debug)]
pub(super) struct Shares {
    all: Arc<Semaphore>,
    registrants: Group<Option<IpAddr>>,
    hosts: Group<String>,
}

/// The semaphores of those that run or wait for a check at the moment.
#[derive(Debug)]
struct Group<K> {
    size: usize,
    semaphores: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// The right to run a check.
#[derive(Debug)]
pub(super) struct Share {
    _permits: Vec<OwnedSemaphorePermit>,
}

// === impl Shares ===

impl Shares {
    pub(super) fn new(concurrent: usize) -> Self {
        let group = |part: usize| (concurrent / part).max(1);
        Self {
            all: Arc::new(Semaphore::new(concurrent)),
            registrants: Group::new(group(REGISTRANT)),
            hosts: Group::new(group(HOST)),
        }
    }

    /// Waits for a permit of this program's own checks.
    pub(super) async fn own(&self) -> Share {
        Share { _permits: acquire(Arc::clone(&self.all)).await.into_iter().collect() }
    }

    /// Waits for a permit of a registrant for a check on a host. The registrant comes first, so that one with many instances
    /// does not wait with permits of hosts, and those of all come last, so that nobody waits with one.
    pub(super) async fn of(&self, registrant: Option<IpAddr>, host: String) -> Share {
        let registrant = acquire(self.registrants.semaphore(registrant)).await;
        let host = acquire(self.hosts.semaphore(host)).await;
        let all = acquire(Arc::clone(&self.all)).await;
        Share { _permits: [host, registrant, all].into_iter().flatten().collect() }
    }
}

// === impl Group ===

impl<K: Eq + Hash> Group<K> {
    fn new(size: usize) -> Self {
        Self { size, semaphores: Mutex::default() }
    }

    fn semaphore(&self, key: K) -> Arc<Semaphore> {
        let mut semaphores = self.semaphores.lock();
        if semaphores.len() == semaphores.capacity() {
            // Nobody holds or waits for a permit of a semaphore that is only here.
            semaphores.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        Arc::clone(semaphores.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.size))))
    }
}

/// The semaphores are never closed; a check without a permit would be acceptable if one were.
async fn acquire(semaphore: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    semaphore.acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn ip(last: u8) -> Option<IpAddr> {
        Some([10, 0, 0, last].into())
    }

    #[tokio::test]
    async fn one_registrant_or_host_takes_a_part_and_the_rest_is_for_others() {
        let shares = Shares::new(64);
        let of = |registrant, host: usize| {
            let share = shares.of(ip(registrant), format!("host-{host}"));
            // Without the budget of a task, which would be used up.
            tokio::task::unconstrained(share).now_or_never()
        };
        let held: Vec<_> = (0..1000).filter_map(|host| of(1, host)).collect();
        assert_eq!(held.len(), 16, "many hosts of one registrant");
        let same: Vec<_> = (2..200).filter_map(|registrant| of(registrant, 5000)).collect();
        assert_eq!(same.len(), 8, "many registrants of one host");
        assert!(of(201, 6000).is_some());
        drop((held, same));
        assert!(of(1, 0).is_some(), "the permits are given back");
    }

    #[tokio::test]
    async fn semaphores_of_those_without_checks_are_forgotten() {
        let shares = Shares::new(64);
        for host in 0..100_000 {
            drop(shares.of(ip(1), format!("host-{host}")).await);
        }
        assert!(shares.hosts.semaphores.lock().len() < 1000);
    }
}
