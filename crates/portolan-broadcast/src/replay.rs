//! Tells a new message from one that came before, in bounded memory. Pure: the caller brings
//! the time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How many senders, and how many messages without a sender, each generation remembers.
const REMEMBERED: usize = 8_192;
/// How far behind a sender's newest message another may arrive: datagrams overtake each other.
const WINDOW: u64 = u128::BITS as u64;
/// A copy that comes this soon came by another way; a later one was kept by somebody.
const REPEAT_SPAN: Duration = Duration::from_secs(2);

/// Every message heard of late.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    senders: Generations<Box<str>, Sender>,
    nameless: Generations<[u8; 32], Instant>,
}

/// What a message is to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// Not heard before.
    New,
    /// The same message by another way: through a second interface, say. Nothing is wrong with it.
    Repeat,
    /// A message kept and sent again, or too far behind to be told from one.
    Replay,
}

/// One sender's messages: the newest, and which of those before it were heard.
#[derive(Debug, Clone, Copy)]
struct Sender {
    highest: u64,
    heard: u128,
    news_at: Instant,
}

/// A map that forgets: what was not touched while a whole generation filled up.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

// === impl Replays ===

impl Replays {
    /// Remembers the message of a sender that counts its messages.
    pub(crate) fn observe(&mut self, sender: &str, sequence: u64, now: Instant) -> Novelty {
        match self.senders.touch(sender) {
            Some(peers) => peers.observe(sequence, now),
            None => {
                let first = Sender { highest: sequence, heard: 1, news_at: now };
                self.senders.insert(sender.into(), first);
                Novelty::New
            }
        }
    }

    /// Remembers a message that names no sender, by whatever is the same in every copy of it.
    pub(crate) fn observe_nameless(&mut self, contents: &[u8], now: Instant) -> Novelty {
        let digest: [u8; 32] = Sha256::digest(contents).into();
        match self.nameless.touch(&digest) {
            Some(heard_at) => copy_after(now - *heard_at),
            None => {
                self.nameless.insert(digest, now);
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
            self.heard = if ahead < WINDOW { self.heard << ahead | 1 } else { 1 };
            self.highest = sequence;
            self.news_at = now;
            return Novelty::New;
        }
        let behind = self.highest - sequence;
        if behind >= WINDOW {
            return Novelty::Replay;
        }
        if self.heard >> behind & 1 == 1 {
            return copy_after(now - self.news_at);
        }
        self.heard |= 1 << behind;
        self.news_at = now;
        Novelty::New
    }
}

// === impl Generations ===

impl<K: Eq + Hash, V> Generations<K, V> {
    /// The value, which is young again.
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
