//! The metadata of a lease, stored beside its slot. For display only, except for the key by which
//! leases of a service are counted.

use std::sync::atomic::Ordering::Relaxed;

use jiff::Timestamp;
use portolan_core::{PortName, Scope, ServiceName, fnv1a};

use crate::atomic::AtomicWord;

/// The number of words of a record: 512 bytes, so that no record crosses a page boundary.
pub(crate) const WORDS: usize = 64;
/// The first word belongs to no record: see `Table::allocate_page`.
const SINCE: usize = 1;
const PROCESS: usize = 2;
const START_TIME: usize = 3;
const INODE: usize = 4;
const LENGTHS: usize = 5;
const KEY: usize = 6;
const SERVICE: usize = 7;
const SCOPE: usize = SERVICE + TEXT;
const PORT_NAME: usize = SCOPE + TEXT;
/// A name has at most 128 bytes.
const TEXT: usize = 128 / 8;
/// The name of a port has at most 32 bytes.
const SHORT_TEXT: usize = 32 / 8;

/// The holder of a port: service, process, user and start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The service that holds the port.
    pub service: ServiceName,
    /// The scope of the service's name.
    pub scope: Scope,
    /// Which of the service's ports it is; none for its only or first one.
    pub port_name: Option<PortName>,
    /// When the port was granted.
    pub since: Timestamp,
    /// The process that requested it.
    pub pid: u32,
    /// The user that runs the process.
    pub uid: u32,
    /// The start time of the process in clock ticks since boot (proc_pid_stat(5)); 0 if unknown.
    pub start_time: u64,
    /// The inode of the socket that listens; 0 until one does.
    pub inode: u64,
}

/// Identifies a service and its scope in the table: a hash, so another service may have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceKey(u32);

// === impl Record ===

impl Record {
    pub(crate) fn write<W: AtomicWord>(&self, words: &[W], key: ServiceKey) {
        let (service, scope) = (self.service.as_str(), self.scope.as_str());
        words[SINCE].store(self.since.as_millisecond().cast_unsigned(), Relaxed);
        words[PROCESS].store(u64::from(self.pid) << 32 | u64::from(self.uid), Relaxed);
        words[START_TIME].store(self.start_time, Relaxed);
        words[INODE].store(self.inode, Relaxed);
        words[KEY].store(key.to_word(), Relaxed);
        let port_name = self.port_name.as_ref().map_or("", PortName::as_str);
        let lengths = [service, scope, port_name].map(|text| text.len() as u64);
        words[LENGTHS].store(lengths[0] << 32 | lengths[1] << 16 | lengths[2], Relaxed);
        write_text(&words[SERVICE..SERVICE + TEXT], service);
        write_text(&words[SCOPE..SCOPE + TEXT], scope);
        write_text(&words[PORT_NAME..PORT_NAME + SHORT_TEXT], port_name);
    }

    pub(crate) fn read_key<W: AtomicWord>(words: &[W]) -> ServiceKey {
        ServiceKey::from_word(words[KEY].load(Relaxed))
    }

    /// Stores the inode of the socket that listens.
    pub(crate) fn write_inode<W: AtomicWord>(words: &[W], inode: u64) {
        words[INODE].store(inode, Relaxed);
    }

    /// Reads a record. An invalid name, as in a damaged table, becomes `unreadable`: the lease is in
    /// force all the same.
    pub(crate) fn read<W: AtomicWord>(words: &[W]) -> Self {
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

fn write_text<W: AtomicWord>(words: &[W], text: &str) {
    for (word, bytes) in words.iter().zip(text.as_bytes().chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(eight), Relaxed);
    }
}

fn read_text<W: AtomicWord, T: std::str::FromStr>(words: &[W], length: u64) -> Option<T> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    let text = bytes.get(..usize::try_from(length).ok()?)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

// === impl ServiceKey ===

impl ServiceKey {
    /// How many buckets there are of each kind.
    pub(crate) const BUCKETS: usize = 4096;

    /// The key of the service in the scope, the same in all processes.
    pub fn new(scope: &Scope, service: &ServiceName) -> Self {
        // No name contains a slash.
        let text = scope.as_str().bytes().chain([b'/']).chain(service.as_str().bytes());
        let hash = fnv1a(text);
        Self((hash >> 32) as u32 ^ hash as u32)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        Self(word as u32)
    }

    pub(crate) fn to_word(self) -> u64 {
        self.0.into()
    }

    /// An index below [`ServiceKey::BUCKETS`].
    pub(crate) fn first_bucket(self) -> usize {
        self.0 as usize % Self::BUCKETS
    }

    /// Another index below [`ServiceKey::BUCKETS`].
    pub(crate) fn second_bucket(self) -> usize {
        self.0 as usize / Self::BUCKETS % Self::BUCKETS
    }
}

fn unreadable() -> ServiceName {
    const NAME: &str = "unreadable";
    match NAME.parse() {
        Ok(name) => name,
        Err(_) => unreachable!("{NAME} is a valid name"),
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
    fn record_round_trips() {
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
        record.write(&words, ServiceKey(7));
        assert_eq!(Record::read(&words), record);
        let shorter = Record { service: "x".parse().unwrap(), port_name: None, ..record };
        shorter.write(&words, ServiceKey(8));
        assert_eq!(Record::read(&words), shorter);
        assert_eq!(words[0].load(Relaxed), 0, "the first word does not belong to the record");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_content_of_a_record_is_readable(numbers in prop::collection::vec(any::<u64>(), WORDS)) {
            let words: Vec<AtomicU64> = numbers.into_iter().map(AtomicU64::new).collect();
            prop_assert!(!Record::read(&words).service.as_str().is_empty());
        }
    }
}
