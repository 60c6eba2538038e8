//! Lines with a checksum: the CRC-32 (IEEE 802.3) of a JSON value in eight hexadecimal digits, a space, the value
//! and a newline, which JSON escapes.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use serde::Serialize;

/// The length of checksum and space.
const PREFIX: usize = 9;
/// The length of the longest line that is read. A writer stays far below it, see [`encode_all`].
const LONGEST: u64 = 64 << 20;
/// How many values a line has at most.
const VALUES: usize = 256;
/// The length from which a line gets no further values.
const FULL: usize = 1 << 20;

/// A line of a file.
#[derive(Debug)]
pub(super) struct Line {
    /// Its offset in the file.
    pub(super) offset: u64,
    /// Its number, counted from 1.
    pub(super) number: u64,
    bytes: Vec<u8>,
}

/// Reads the lines of a file.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    offset: u64,
    number: u64,
}

/// Returns a value as a line.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut line = vec![b' '; PREFIX];
    serde_json::to_writer(&mut line, value).expect("a record has a JSON form");
    seal(&mut line);
    line
}

/// Writes the values as lines with several in each: between `head` and `tail`, separated by commas. The head of a line may
/// depend on the length of the lines before it.
pub(super) fn encode_all<T: Serialize>(
    values: &[T],
    head: impl Fn(u64) -> Cow<'static, str>,
    tail: &str,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut values, mut line, mut written) = (values.iter().peekable(), Vec::new(), 0);
    while values.peek().is_some() {
        line.clear();
        line.extend_from_slice(&[b' '; PREFIX]);
        line.extend_from_slice(head(written).as_bytes());
        let mut count = 0;
        while count < VALUES
            && line.len() < FULL
            && let Some(value) = values.next()
        {
            if count > 0 {
                line.push(b',');
            }
            serde_json::to_writer(&mut line, value).expect("a record has a JSON form");
            count += 1;
        }
        line.extend_from_slice(tail.as_bytes());
        seal(&mut line);
        write(&line)?;
        written += line.len() as u64;
    }
    Ok(())
}

/// Completes a line: puts the checksum into its prefix, and the newline at its end.
fn seal(line: &mut Vec<u8>) {
    let checksum = format!("{:08x}", crc32fast::hash(&line[PREFIX..]));
    line[..PREFIX - 1].copy_from_slice(checksum.as_bytes());
    line.push(b'\n');
}

// === impl Lines ===

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, offset: 0, number: 0 }
    }

    /// The length of what was read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of lines that were read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Reads the next line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let length = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut bytes)?;
        if length == 0 {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += length as u64;
        self.number += 1;
        Ok(Some(Line { offset, number: self.number, bytes }))
    }
}

impl Lines<BufReader<File>> {
    /// The length of the file, read or not.
    pub(super) fn length_of_file(&self) -> io::Result<u64> {
        Ok(self.reader.get_ref().metadata()?.len())
    }
}

// === impl Line ===

impl Line {
    /// The JSON value, or what is wrong with the line.
    pub(super) fn json(&self) -> Result<&[u8], &'static str> {
        json(&self.bytes)
    }

    /// The JSON value of a valid line at the end of this one, which is invalid: the newline between them is damaged.
    pub(super) fn last_json(&self) -> Option<&[u8]> {
        let starts = self.bytes.windows(2).enumerate().skip(PREFIX);
        let starts = starts.filter(|(_, pair)| matches!(pair, [b' ', b'{' | b'[']));
        starts.map(|(space, _)| &self.bytes[space + 1 - PREFIX..]).find_map(|line| json(line).ok())
    }
}

fn json(line: &[u8]) -> Result<&[u8], &'static str> {
    let line = line.strip_suffix(b"\n").ok_or("it has no end")?;
    let Some((prefix, json)) = line.split_at_checked(PREFIX) else {
        return Err("it has no checksum");
    };
    let checksum = prefix.strip_suffix(b" ").ok_or("it has no checksum")?;
    let checksum = std::str::from_utf8(checksum).ok();
    let checksum = checksum.and_then(|text| u32::from_str_radix(text, 16).ok());
    match checksum.is_some_and(|checksum| checksum == crc32fast::hash(json)) {
        true => Ok(json),
        false => Err("its checksum does not match"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Result<Vec<u8>, &'static str>> {
        let mut lines = Lines::new(bytes);
        let json = |line: Line| line.json().map(<[u8]>::to_vec);
        std::iter::from_fn(|| lines.next().unwrap()).map(json).collect()
    }

    #[test]
    fn line_of_any_changed_byte_is_invalid() {
        let bytes = encode(&"a\nb");
        assert_eq!(read(&bytes), [Ok(br#""a\nb""#.to_vec())]);
        for at in 0..bytes.len() {
            for changed in 0..=255 {
                let mut damaged = bytes.clone();
                damaged[at] = changed;
                // The checksum may be written in upper case too.
                let same = damaged.eq_ignore_ascii_case(&bytes) && at < PREFIX - 1;
                let valid = read(&damaged).iter().any(Result::is_ok);
                assert_eq!(valid, changed == bytes[at] || same, "{at}: {changed}");
            }
        }
    }

    #[test]
    fn line_after_a_damaged_newline_is_found() {
        let mut bytes = encode(&[1]);
        let end = bytes.len() - 1;
        bytes.extend(encode(&[2]));
        bytes[end] = b'x';
        let line = Lines::new(&bytes[..]).next().unwrap().unwrap();
        assert!(line.json().is_err());
        assert_eq!(line.last_json(), Some(&b"[2]"[..]));
    }

    #[test]
    fn lines_are_bounded_in_values_and_in_length() {
        let lengths = |values: &[String]| {
            let mut lengths = Vec::new();
            encode_all(
                values,
                |_| "[".into(),
                "]",
                |line| {
                    let json = Lines::new(line).next()?.unwrap();
                    let values: Vec<String> = serde_json::from_slice(json.json().unwrap()).unwrap();
                    lengths.push(values.len());
                    Ok(())
                },
            )
            .unwrap();
            lengths
        };
        assert_eq!(lengths(&vec![String::new(); 600]), [256, 256, 88]);
        // Each is half of a full line once it is escaped.
        assert_eq!(lengths(&vec!["\"".repeat(FULL / 4); 5]), [2, 2, 1]);
        assert!(lengths(&[]).is_empty());
    }

    #[test]
    fn every_beginning_of_a_line_is_invalid() {
        let bytes = encode(&vec![1, 2, 3]);
        for length in 1..bytes.len() {
            assert!(read(&bytes[..length])[0].is_err(), "{length}");
        }
    }
}
