//! The hash chain: each record has a sequence number, the hash of the record before it, and its own.
//!
//! A line is `{"sequence":N,…,"previous":"HEX","hash":"HEX"}`. The hash is the SHA-256 of the line without the member `hash`, so
//! it covers the hash of the record before, and with it every earlier record.

use std::fmt::Write as _;

use portolan_core::hex;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The longest line. A record is cut long before it.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// The hash of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash([u8; 32]);

/// The end of a chain, to which the next record is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainEnd {
    /// The sequence number of the last record; 0 if there is none.
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
}

/// The members of a record that make the chain.
#[derive(Debug, Deserialize)]
struct Links {
    sequence: u64,
    previous: String,
}

/// A record whose hash is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) sequence: u64,
    pub(crate) previous: Hash,
    pub(crate) hash: Hash,
}

/// Why a line is not a record whose hash is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadLine {
    NotARecord,
    Changed,
}

const HASH: &str = ",\"hash\":\"";

// === impl ChainEnd ===

impl ChainEnd {
    /// The beginning of every chain.
    pub(crate) const START: Self = Self { sequence: 0, hash: Hash([0; 32]) };

    /// Appends a record, and returns its line with a line feed.
    pub(crate) fn append(&mut self, members: &Map<String, Value>) -> String {
        self.sequence += 1;
        let mut line = format!("{{\"sequence\":{}", self.sequence);
        for (name, value) in members {
            _ = write!(line, ",{}:{value}", Value::from(name.as_str()));
        }
        _ = write!(line, ",\"previous\":\"{}\"", self.hash);
        let mut line = ascii(&line);
        self.hash = hash_of(&line);
        _ = writeln!(line, "{HASH}{}\"}}", self.hash);
        line
    }
}

// === impl Link ===

impl Link {
    /// Reads a line without its line feed.
    pub(crate) fn read(line: &str) -> Result<Self, BadLine> {
        let (body, hash) = line.rsplit_once(HASH).ok_or(BadLine::NotARecord)?;
        let hash = hash.strip_suffix("\"}").and_then(Hash::parse).ok_or(BadLine::NotARecord)?;
        if hash_of(body) != hash {
            return Err(BadLine::Changed);
        }
        let links: Links =
            serde_json::from_str(&format!("{body}}}")).map_err(|_| BadLine::NotARecord)?;
        let previous = Hash::parse(&links.previous).ok_or(BadLine::NotARecord)?;
        Ok(Self { sequence: links.sequence, previous, hash })
    }

    pub(crate) fn end(self) -> ChainEnd {
        ChainEnd { sequence: self.sequence, hash: self.hash }
    }
}

// === impl Hash ===

impl Hash {
    fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// The hash of a record without the member `hash`, whose line is not closed yet.
fn hash_of(open: &str) -> Hash {
    let mut digest = Sha256::new();
    digest.update(open);
    digest.update(b"}");
    Hash(digest.finalize().into())
}

/// Escapes what is not printable ASCII; in JSON that is in strings only. Control and bidirectional characters would act on a
/// terminal.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(text: &str) -> Map<String, Value> {
        json!({"action": text}).as_object().unwrap().clone()
    }

    #[test]
    fn records_are_linked_and_changes_are_found() {
        let mut end = ChainEnd::START;
        let lines = ["a", "b"].map(|text| end.append(&members(text)));
        let links = lines.each_ref().map(|line| Link::read(line.trim_end()).unwrap());
        assert_eq!((links[0].sequence, links[0].previous), (1, ChainEnd::START.hash));
        assert_eq!((links[1].sequence, links[1].previous), (2, links[0].hash));
        assert_eq!(links[1].end(), end);
        let changed = lines[0].replace("\"a\"", "\"b\"");
        assert_eq!(Link::read(changed.trim_end()), Err(BadLine::Changed));
        for text in ["", "{}", "not json", &lines[0][..lines[0].len() - 4]] {
            assert_eq!(Link::read(text), Err(BadLine::NotARecord), "{text}");
        }
    }

    #[test]
    fn text_from_outside_is_escaped_and_read_again() {
        let hostile = "x\n{\"sequence\":9}\u{1b}[2J\u{202e}\u{9b}\u{1f600},\"hash\":\"\"}";
        let mut end = ChainEnd::START;
        let line = end.append(&members(hostile));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        Link::read(line.trim_end()).unwrap();
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["action"], hostile);
    }
}
