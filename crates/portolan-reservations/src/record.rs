//! What the table says of a lease besides its slot. Told to people; nothing is decided by it.

use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering::Relaxed;

use jiff::Timestamp;
use portolan_core::{PortName, Scope, ServiceName};

use crate::word::Word;

/// How many words a record has: 512 bytes, so that none lies on two pages.
pub(crate) const WORDS: usize = 64;
/// The first word is no part of any record: see `Table::back`.
const SINCE: usize = 1;
const PROCESS: usize = 2;
const START_TIME: usize = 3;
const INODE: usize = 4;
const LENGTHS: usize = 5;
const TALLY: usize = 6;
const SERVICE: usize = 7;
const SCOPE: usize = SERVICE + TEXT;
const PORT_NAME: usize = SCOPE + TEXT;
/// A name has 128 bytes at most.
const TEXT: usize = 128 / 8;
/// That of a port has 32 at most.
const SHORT_TEXT: usize = 32 / 8;

/// Who holds a port, since when, and through which process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The service that holds the port.
    pub service: ServiceName,
    /// The world that its name belongs to.
    pub scope: Scope,
    /// Which of the service's ports it is; none for its only or first one.
    pub port_name: Option<PortName>,
    /// When it was granted.
    pub since: Timestamp,
    /// The process that asked for it.
    pub pid: u32,
    /// The user who runs that process.
    pub uid: u32,
    /// When the process began, in the system's ticks; 0 where that is not known.
    pub start_time: u64,
    /// The socket that listens, once one does; 0 before.
    pub inode: u64,
}

/// What leases of one service are counted as, the world of its name included. Another service may
/// be counted as the same, so it is a hint and no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally(u32);

// === impl Record ===

impl Record {
    pub(crate) fn write<W: Word>(&self, words: &[W], tally: Tally) {
        let (service, scope) = (self.service.as_str(), self.scope.as_str());
        words[SINCE].store(self.since.as_millisecond().cast_unsigned(), Relaxed);
        words[PROCESS].store(u64::from(self.pid) << 32 | u64::from(self.uid), Relaxed);
        words[START_TIME].store(self.start_time, Relaxed);
        words[INODE].store(self.inode, Relaxed);
        words[TALLY].store(tally.0.into(), Relaxed);
        let port_name = self.port_name.as_ref().map_or("", PortName::as_str);
        let lengths = [service, scope, port_name].map(|text| text.len() as u64);
        words[LENGTHS].store(lengths[0] << 32 | lengths[1] << 16 | lengths[2], Relaxed);
        write_text(&words[SERVICE..SERVICE + TEXT], service);
        write_text(&words[SCOPE..SCOPE + TEXT], scope);
        write_text(&words[PORT_NAME..PORT_NAME + SHORT_TEXT], port_name);
    }

    pub(crate) fn read_tally<W: Word>(words: &[W]) -> Tally {
        Tally::from_word(words[TALLY].load(Relaxed))
    }

    /// Adds the socket that listens.
    pub(crate) fn write_inode<W: Word>(words: &[W], inode: u64) {
        words[INODE].store(inode, Relaxed);
    }

    /// Reads whatever is there. A name that is none, because the file was damaged, is `unreadable`:
    /// the lease is in force all the same.
    pub(crate) fn read<W: Word>(words: &[W]) -> Self {
        let process = words[PROCESS].load(Relaxed);
        let lengths = words[LENGTHS].load(Relaxed);
        let since = words[SINCE].load(Relaxed).cast_signed();
        Self {
            service: read_text(&words[SERVICE..SERVICE + TEXT], lengths >> 32)
                .unwrap_or_else(unreadable),
            scope: read_text(&words[SCOPE..SCOPE + TEXT], lengths >> 16 & 0xffff)
                .unwrap_or_default(),
            port_name: read_text(&words[PORT_NAME..PORT_NAME + SHORT_TEXT], lengths & 0xffff),
            since: Timestamp::from_millisecond(since).unwrap_or_default(),
            pid: (process >> 32) as u32,
            uid: process as u32,
            start_time: words[START_TIME].load(Relaxed),
            inode: words[INODE].load(Relaxed),
        }
    }
}

fn write_text<W: Word>(words: &[W], text: &str) {
    for (word, bytes) in words.iter().zip(text.as_bytes().chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(eight), Relaxed);
    }
}

fn read_text<W: Word, T: std::str::FromStr>(words: &[W], length: u64) -> Option<T> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    let text = bytes.get(..usize::try_from(length).ok()?)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

// === impl Tally ===

impl Tally {
    /// What leases of this service are counted as.
    pub fn of(scope: &Scope, service: &ServiceName) -> Self {
        // Not one that changes with the process: all processes count together.
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        (scope, service).hash(&mut hash);
        let hash = hash.finish();
        Self((hash >> 32) as u32 ^ hash as u32)
    }

    /// The tally that was written as this number.
    pub(crate) fn from_word(word: u64) -> Self {
        Self(word as u32)
    }

    /// A number below 4096.
    pub(crate) fn first(self) -> usize {
        self.0 as usize & 0xfff
    }

    /// Another number below 4096.
    pub(crate) fn second(self) -> usize {
        self.0 as usize >> 12 & 0xfff
    }
}

/// FNV-1a, by words of eight bytes.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(eight)).wrapping_mul(0x0100_0000_01b3);
            // The high bits of a word must reach the low ones of the result.
            self.0 ^= self.0 >> 29;
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn unreadable() -> ServiceName {
    const NAME: &str = "unreadable";
    match NAME.parse() {
        Ok(name) => name,
        Err(_) => unreachable!("{NAME} is a name"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::sync::atomic::AtomicU64;

    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let words = words();
        let record = Record {
            service: "s".repeat(128).parse().unwrap(),
            scope: "a.scope-of_mine".parse().unwrap(),
            port_name: Some("p".repeat(32).parse().unwrap()),
            since: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            pid: 4_194_304,
            uid: u32::MAX,
            start_time: 99,
            inode: u64::MAX,
        };
        record.write(&words, Tally(7));
        assert_eq!(Record::read(&words), record);
        let shorter = Record { service: "x".parse().unwrap(), port_name: None, ..record };
        shorter.write(&words, Tally(8));
        assert_eq!(Record::read(&words), shorter);
        assert_eq!(words[0].load(Relaxed), 0, "the first word is no part of the record");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_stands_there_is_read(numbers in prop::collection::vec(any::<u64>(), WORDS)) {
            let words: Vec<AtomicU64> = numbers.into_iter().map(AtomicU64::new).collect();
            prop_assert!(!Record::read(&words).service.as_str().is_empty());
        }
    }
}
