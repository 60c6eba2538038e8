//! Replay detection in bounded memory, as pure functions: the caller passes the time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// The number of senders, and of messages without a sender, in each generation.
const REMEMBERED: usize = 8_192;
/// How far a message may be behind the newest one of its sender, because datagrams are reordered.
const WINDOW: u64 = u128::BITS as u64;
/// A copy within this span arrived by another interface; a later one is a replay.
const REPEAT_SPAN: Duration = Duration::from_secs(2);

/// The messages received recently.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    senders: Generations<Box<str>, Sender>,
    anonymous: Generations<[u8; 32], Instant>,
}

/// Whether a message was received before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// It was not received before.
    New,
    /// A copy that arrived by another interface. Harmless.
    Repeat,
    /// A message that was recorded and sent again, or one too old to tell.
    Replay,
}

/// The newest sequence number of a sender, and a bit for each one before it.
#[derive(Debug, Clone, Copy)]
struct Sender {
    highest: u64,
    received: u128,
    news_at: Instant,
}

/// A bounded map of two generations: an entry that is not used while a generation fills up is dropped.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

// === impl Replays ===

impl Replays {
    /// Records a message with a sender and a sequence number.
    pub(crate) fn observe(&mut self, sender: &str, sequence: u64, now: Instant) -> Novelty {
        match self.senders.touch(sender) {
            Some(known) => known.observe(sequence, now),
            None => {
                let first = Sender { highest: sequence, received: 1, news_at: now };
                self.senders.insert(sender.into(), first);
                Novelty::New
            }
        }
    }

    /// Records a message without a sender by its contents.
    pub(crate) fn observe_anonymous(&mut self, contents: &[u8], now: Instant) -> Novelty {
        let digest: [u8; 32] = Sha256::digest(contents).into();
        match self.anonymous.touch(&digest) {
            Some(received_at) => copy_after(now - *received_at),
            None => {
                self.anonymous.insert(digest, now);
                Novelty::New
            }
        }
    }
}

fn copy_after(span: Duration) -> Novelty {
    if span <= REPEAT_SPAN { Novelty::Repeat } else { Novelty::Replay }
}

// === impl Sender ===

impl Sender {
    fn observe(&mut self, sequence: u64, now: Instant) -> Novelty {
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.received = if ahead < WINDOW { self.received << ahead | 1 } else { 1 };
            self.highest = sequence;
            self.news_at = now;
            return Novelty::New;
        }
        let behind = self.highest - sequence;
        if behind >= WINDOW {
            return Novelty::Replay;
        }
        if self.received >> behind & 1 == 1 {
            return copy_after(now - self.news_at);
        }
        self.received |= 1 << behind;
        self.news_at = now;
        Novelty::New
    }
}

// === impl Generations ===

impl<K: Eq + Hash, V> Generations<K, V> {
    /// Returns the value and moves it to the young generation.
    fn touch<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

#[cfg(test)]
mod tests;
