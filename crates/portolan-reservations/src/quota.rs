//! Quotas on leases held at once, checked by scanning the table.
//!
//! A scan of all slots is too slow for each grant, so a session keeps the result of its last scan as a
//! [`LeaseBound`] and counts the *tickets* since then. A session takes a ticket for each claim that it
//! is about to publish. A scan that begins after ticket `t` sees the slot of every ticket up to `t` at
//! least as a claim. Therefore the leases found plus the tickets after `t` are never fewer than the
//! leases in force, whichever process is killed at whichever moment, and no count is ever decremented.
//!
//! If the bound reaches a quota even after another scan, the exact count decides. Sessions make it one
//! at a time, under a [`QuotaLock`]: of two that ask for the last lease of a quota, exactly one gets it.
//! A session that waits for the lock holds no claim, so that the one that counts can wait for claims.

use std::fs::File;
use std::sync::atomic::Ordering::Acquire;

use crate::atomic::AtomicWord;
use crate::record::{Record, ServiceKey};
use crate::slot::{SlotProtocol, State};

/// The largest number of leases at a time; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// For one service in one scope.
    pub per_service: Option<u32>,
    /// For one user in one network namespace.
    pub per_user: Option<u32>,
}

/// Upper bounds on the number of leases, from one scan of the table.
#[derive(Debug)]
pub struct LeaseBound {
    /// The last ticket before the scan.
    ticket: u64,
    /// Slots that are claimed by any service.
    claimed: u64,
    /// Slots with a lease or a listener.
    held: u64,
    /// The same by service. Services whose keys collide are counted together.
    held_by_service: Box<[u16]>,
}

/// The exclusive right of one session to count leases exactly. Dropping it unlocks.
#[derive(Debug)]
pub struct QuotaLock {
    /// The lock belongs to this description, which no child inherits.
    pub(crate) _file: File,
}

// === impl Quota ===

impl Quota {
    /// Whether there is no limit.
    pub fn is_unlimited(self) -> bool {
        self == Self::default()
    }
}

// === impl LeaseBound ===

impl LeaseBound {
    /// Scans the slots. Orphaned leases count: whether sessions live is not asked.
    pub(crate) fn scan<'a, W: AtomicWord + 'a>(
        last_ticket: &W,
        slots: impl Iterator<Item = SlotProtocol<'a, W>>,
    ) -> Self {
        let ticket = last_ticket.load(Acquire);
        let held_by_service = vec![0; ServiceKey::BUCKETS].into_boxed_slice();
        let mut bound = Self { ticket, claimed: 0, held: 0, held_by_service };
        for place in slots {
            let slot = place.load();
            bound.claimed += u64::from(slot.state() == State::Trying);
            if slot.state() == State::Held || slot.is_listing() {
                bound.held += 1;
                // The key of another lease is read only if this one ended after the scan began.
                let bucket = Record::read_key(place.record).first_bucket();
                bound.held_by_service[bucket] = bound.held_by_service[bucket].saturating_add(1);
            }
        }
        bound
    }

    /// Whether a claim whose ticket was taken after the scan certainly keeps the quota. False means that
    /// it may not.
    pub fn allows_later_claim(&self, key: ServiceKey, ticket: u64, quota: Quota) -> bool {
        // After damage to the ticket word the difference may be huge, which asks for another scan.
        self.is_within(key, quota, ticket.wrapping_sub(self.ticket))
    }

    /// Whether a claim whose ticket was taken before the scan certainly keeps the quota. The scan counted
    /// the claim itself; claims with later tickets count it too, so they need not be counted here.
    pub fn allows_scanned_claim(&self, key: ServiceKey, quota: Quota) -> bool {
        self.is_within(key, quota, 0)
    }

    fn is_within(&self, key: ServiceKey, quota: Quota, later_tickets: u64) -> bool {
        let others = self.claimed.saturating_add(later_tickets);
        let of_service = u64::from(self.held_by_service[key.first_bucket()]);
        [(of_service, quota.per_service), (self.held, quota.per_user)].into_iter().all(
            |(held, limit)| limit.is_none_or(|limit| held.saturating_add(others) <= limit.into()),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::slot::Slot;

    fn key(service: &str) -> ServiceKey {
        ServiceKey::new(&"test".parse().unwrap(), &service.parse().unwrap())
    }

    /// The bound after ticket 10 with two leases of `api`, one of `web`, and one claim.
    fn bound() -> LeaseBound {
        let words = |state| (AtomicU64::new(Slot::from_word(0).with_state(state).word()), [0; 7]);
        let mut slots = [State::Held, State::Held, State::Listening, State::Trying].map(words);
        for ((_, record), service) in slots.iter_mut().zip(["api", "api", "web"]) {
            // Where a record has its key.
            record[6] = key(service).to_word();
        }
        let slots = slots.map(|(slot, record)| (slot, record.map(AtomicU64::new)));
        let place = |(slot, record)| SlotProtocol { slot, record };
        let slots = slots.iter().map(|(slot, record)| place((slot, record.as_slice())));
        LeaseBound::scan(&AtomicU64::new(10), slots)
    }

    #[test]
    fn bound_counts_leases_claims_and_later_tickets() {
        let bound = bound();
        let per_service = |service, limit, ticket| {
            let quota = Quota { per_service: Some(limit), per_user: None };
            bound.allows_later_claim(key(service), ticket, quota)
        };
        assert!(per_service("api", 3, 10) && !per_service("api", 2, 10));
        assert!(per_service("api", 5, 12) && !per_service("api", 4, 12));
        assert!(per_service("web", 2, 10) && per_service("other", 1, 10));
        let per_user = |limit, ticket| {
            let quota = Quota { per_service: None, per_user: Some(limit) };
            bound.allows_later_claim(key("api"), ticket, quota)
        };
        assert!(per_user(4, 10) && !per_user(3, 10) && !per_user(4, 11));
        assert!(bound.allows_later_claim(key("api"), u64::MAX, Quota::default()));
    }

    /// Otherwise every claim that competes with another one would ask for the lock, however far the
    /// service is from its quota.
    #[test]
    fn claim_of_the_scan_is_allowed_though_other_sessions_took_later_tickets() {
        let quota = |limit| Quota { per_service: Some(limit), per_user: None };
        assert!(!bound().allows_later_claim(key("api"), 8, quota(1000)));
        assert!(bound().allows_scanned_claim(key("api"), quota(3)));
        assert!(!bound().allows_scanned_claim(key("api"), quota(2)));
    }

    #[test]
    fn damaged_ticket_allows_nothing_without_another_scan() {
        let quota = Quota { per_service: Some(u32::MAX), per_user: Some(u32::MAX) };
        assert!(!bound().allows_later_claim(key("api"), 9, quota));
        let words = [const { AtomicU64::new(u64::MAX) }; 2];
        let place = SlotProtocol { slot: &words[0], record: &[const { AtomicU64::new(0) }; 7] };
        let bound = LeaseBound::scan(&words[1], [place].into_iter());
        assert_eq!(words[1].add(1), 0);
        let ticket = words[1].load(Relaxed);
        assert!(bound.allows_later_claim(key("api"), ticket, quota), "tickets wrap around");
    }
}

#[cfg(test)]
mod model;
