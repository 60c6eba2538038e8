//! What the table says of a lease besides its slot. Told to people; nothing is decided by it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use jiff::Timestamp;
use portolan_core::{PortName, Scope, ServiceName};

/// How many words a record has: 512 bytes, so that none lies on two pages.
pub(super) const WORDS: usize = 64;
/// The first word is no part of any record: see `Table::back`.
const SINCE: usize = 1;
const PROCESS: usize = 2;
const START_TIME: usize = 3;
const INODE: usize = 4;
const LENGTHS: usize = 5;
const SERVICE: usize = 6;
const SCOPE: usize = SERVICE + TEXT;
const PORT_NAME: usize = SCOPE + TEXT;
/// A name has 128 bytes at most.
const TEXT: usize = 128 / 8;
/// That of a port has 32 at most.
const SHORT_TEXT: usize = 32 / 8;

/// Who holds a port, since when, and through which process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) service: ServiceName,
    pub(crate) scope: Scope,
    /// Which of the service's ports it is; none for its only or first one.
    pub(crate) port_name: Option<PortName>,
    pub(crate) since: Timestamp,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    /// When the process began, in the system's ticks; 0 where that is not known.
    pub(crate) start_time: u64,
    /// The socket that listens, once one does; 0 before.
    pub(crate) inode: u64,
}

// === impl Record ===

impl Record {
    pub(super) fn write(&self, words: &[AtomicU64]) {
        let (service, scope) = (self.service.as_str(), self.scope.as_str());
        words[SINCE].store(self.since.as_millisecond().cast_unsigned(), Relaxed);
        words[PROCESS].store(u64::from(self.pid) << 32 | u64::from(self.uid), Relaxed);
        words[START_TIME].store(self.start_time, Relaxed);
        words[INODE].store(self.inode, Relaxed);
        let port_name = self.port_name.as_ref().map_or("", PortName::as_str);
        let lengths = [service, scope, port_name].map(|text| text.len() as u64);
        words[LENGTHS].store(lengths[0] << 32 | lengths[1] << 16 | lengths[2], Relaxed);
        write_text(&words[SERVICE..SERVICE + TEXT], service);
        write_text(&words[SCOPE..SCOPE + TEXT], scope);
        write_text(&words[PORT_NAME..PORT_NAME + SHORT_TEXT], port_name);
    }

    /// Adds the socket that listens.
    pub(super) fn write_inode(words: &[AtomicU64], inode: u64) {
        words[INODE].store(inode, Relaxed);
    }

    /// Reads whatever is there. A name that is none, because the file was damaged, is `unreadable`:
    /// the lease is in force all the same.
    pub(super) fn read(words: &[AtomicU64]) -> Self {
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

fn write_text(words: &[AtomicU64], text: &str) {
    for (word, bytes) in words.iter().zip(text.as_bytes().chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(eight), Relaxed);
    }
}

fn read_text<T: std::str::FromStr>(words: &[AtomicU64], length: u64) -> Option<T> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    let text = bytes.get(..usize::try_from(length).ok()?)?;
    std::str::from_utf8(text).ok()?.parse().ok()
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
        record.write(&words);
        assert_eq!(Record::read(&words), record);
        let shorter = Record { service: "x".parse().unwrap(), port_name: None, ..record };
        shorter.write(&words);
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
