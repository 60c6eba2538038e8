//! Verifies the chain of records in files.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::AuditError;
use crate::chain::{BadLine, ChainEnd, Link, MAX_LINE};

/// A chain without a flaw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The number of records.
    pub records: u64,
    /// The sequence number of the first record. If it is not 1, earlier records are in other files.
    pub first: u64,
    /// The sequence number of the last record.
    pub last: u64,
    /// The hash of the last record, in hexadecimal. Whoever keeps it elsewhere can tell later whether the end was cut off, or
    /// everything was written anew.
    pub hash: String,
}

/// Where the chain is broken first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// It is not a record.
    NotARecord,
    /// Its content does not match its hash.
    Changed,
    /// Records before it are missing: the first and the last one of them.
    Missing {
        /// The sequence number of the first one.
        from: u64,
        /// The sequence number of the last one.
        to: u64,
    },
    /// It stands behind a record with the same or a greater sequence number.
    OutOfOrder {
        /// Its sequence number.
        sequence: u64,
        /// The sequence number that was expected.
        expected: u64,
    },
    /// It does not name the hash of the record before it, so that one of both was replaced.
    Replaced {
        /// Its sequence number.
        sequence: u64,
    },
}

// === impl Flaw ===

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord => f.write_str("this line is not a record"),
            Self::Changed => {
                f.write_str("this record was changed: its content does not match its hash")
            }
            Self::Missing { from, to } if from == to => {
                write!(f, "the record {from} before this one was removed")
            }
            Self::Missing { from, to } => {
                write!(f, "the records {from} to {to} before this one were removed")
            }
            Self::OutOfOrder { sequence, expected } => write!(
                f,
                "the record {sequence} is not in its place, expected the record {expected}: records were moved or repeated"
            ),
            Self::Replaced { sequence } => write!(
                f,
                "the record {sequence} does not follow the record before it: one of both was replaced"
            ),
        }
    }
}

/// Verifies files that belong to one chain, in any order. Returns the first break, if there is one.
///
/// # Errors
///
/// A file cannot be read.
pub fn verify(files: &[PathBuf]) -> Result<Result<Verified, Break>, AuditError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| AuditError::File { path, source }
    };
    let mut ordered = Vec::new();
    for path in files {
        ordered.push((first_sequence(path).map_err(error(path))?, path));
    }
    // A file whose first line is damaged keeps its place.
    ordered.sort_by_key(|(first, _)| first.unwrap_or(0));
    let mut chain = Chain::default();
    for (_, path) in ordered {
        if let Err((line, flaw)) = chain.read(path).map_err(error(path))? {
            return Ok(Err(Break { file: path.clone(), line, flaw }));
        }
    }
    Ok(Ok(chain.verified()))
}

#[derive(Debug, Default)]
struct Chain {
    first: Option<u64>,
    end: Option<ChainEnd>,
    records: u64,
}

// === impl Chain ===

impl Chain {
    fn read(&mut self, path: &Path) -> io::Result<Result<(), (u64, Flaw)>> {
        let mut lines = lines(path)?;
        for number in 1.. {
            let Some(line) = next_line(&mut lines)? else { break };
            if let Err(flaw) = self.follow(&line) {
                return Ok(Err((number, flaw)));
            }
        }
        Ok(Ok(()))
    }

    fn follow(&mut self, line: &[u8]) -> Result<(), Flaw> {
        let line = std::str::from_utf8(line).map_err(|_| Flaw::NotARecord)?;
        let link = Link::read(line).map_err(|bad| match bad {
            BadLine::NotARecord => Flaw::NotARecord,
            BadLine::Changed => Flaw::Changed,
        })?;
        let Link { sequence, previous, .. } = link;
        // The first file may begin anywhere; its first record has to be the first one to prove what was before it.
        let before = match self.end {
            Some(end) => Some(end),
            None => (sequence <= 1).then_some(ChainEnd::START),
        };
        if let Some(before) = before {
            let expected = before.sequence + 1;
            match sequence.cmp(&expected) {
                std::cmp::Ordering::Greater => {
                    return Err(Flaw::Missing { from: expected, to: sequence - 1 });
                }
                std::cmp::Ordering::Less => return Err(Flaw::OutOfOrder { sequence, expected }),
                std::cmp::Ordering::Equal if previous != before.hash => {
                    return Err(Flaw::Replaced { sequence });
                }
                std::cmp::Ordering::Equal => {}
            }
        }
        self.first.get_or_insert(sequence);
        self.end = Some(link.end());
        self.records += 1;
        Ok(())
    }

    fn verified(self) -> Verified {
        let end = self.end.unwrap_or(ChainEnd::START);
        Verified {
            records: self.records,
            first: self.first.unwrap_or(0),
            last: end.sequence,
            hash: end.hash.to_string(),
        }
    }
}

fn lines(path: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path)?))
}

/// Reads the next line; a longer one than any record is cut, and then is not a record.
fn next_line(lines: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(line));
    }
    Ok((!line.is_empty()).then_some(line))
}

fn first_sequence(path: &Path) -> io::Result<Option<u64>> {
    let line = next_line(&mut lines(path)?)?.unwrap_or_default();
    let link = std::str::from_utf8(&line).ok().and_then(|line| Link::read(line).ok());
    Ok(link.map(|link| link.sequence))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn chain(count: u64) -> Vec<String> {
        let mut end = ChainEnd::START;
        let record = |number| json!({"action": number}).as_object().unwrap().clone();
        (0..count).map(|number| end.append(&record(number))).collect()
    }

    fn check(lines: &[String]) -> Result<Verified, (u64, Flaw)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines.concat()).unwrap();
        let verified = verify(&[file.path().to_owned()]).unwrap();
        verified.map_err(|found| (found.line, found.flaw))
    }

    #[test]
    fn whole_chain_and_a_part_of_it_verify() {
        let lines = chain(5);
        let whole = check(&lines).unwrap();
        assert_eq!((whole.records, whole.first, whole.last, whole.hash.len()), (5, 1, 5, 64));
        let part = check(&lines[2..]).unwrap();
        assert_eq!((part.records, part.first, part.last), (3, 3, 5));
        assert_eq!(part.hash, whole.hash);
        assert_eq!(check(&[]).unwrap().records, 0);
    }

    #[test]
    fn every_manipulation_is_found_where_it_is() {
        let changed = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = chain(5);
            change(&mut lines);
            check(&lines).unwrap_err()
        };
        let removed = changed(&|lines| drop(lines.remove(2)));
        assert_eq!(removed, (3, Flaw::Missing { from: 3, to: 3 }));
        let edited = changed(&|lines| lines[1] = lines[1].replace("\"action\":1", "\"action\":9"));
        assert_eq!(edited, (2, Flaw::Changed));
        let swapped = changed(&|lines| lines.swap(1, 2));
        assert_eq!(swapped, (2, Flaw::Missing { from: 2, to: 2 }));
        let repeated = changed(&|lines| lines.insert(2, lines[1].clone()));
        assert_eq!(repeated, (3, Flaw::OutOfOrder { sequence: 2, expected: 3 }));
        let other = changed(&|lines| {
            // A record of another chain with a right hash.
            let mut end = ChainEnd { sequence: 2, hash: ChainEnd::START.hash };
            lines[2] = end.append(json!({"action": 2}).as_object().unwrap());
        });
        assert_eq!(other, (3, Flaw::Replaced { sequence: 3 }));
        let added = changed(&|lines| lines.insert(4, "{\"sequence\":5}\n".to_owned()));
        assert_eq!(added, (5, Flaw::NotARecord));
        let long = changed(&|lines| lines[0] = "x".repeat(3 * MAX_LINE));
        assert_eq!(long.1, Flaw::NotARecord);
        let cut = changed(&|lines| drop(lines[4].split_off(20)));
        assert_eq!(cut, (5, Flaw::NotARecord));
    }
}
