//! Reads a file of the data directory: its header, then its lines, which are parsed on all processors.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::frame::{Line, Lines};
use super::record::{Header, OLDEST, VERSION};
use crate::store::memory::error::DataDirError;

/// How many lines are parsed at a time.
const GROUP: usize = 4096;
/// The length from which no further line is added to those: several groups in a large file, so that one is parsed while
/// the one before it is applied.
const GROUP_LENGTH: u64 = 2 << 20;

/// Less than the length of an instance in a snapshot.
const SHORTEST_INSTANCE: usize = 64;

/// A file of lines with a header.
#[derive(Debug)]
pub(super) struct LogFile<'a> {
    path: &'a Path,
    lines: Lines<BufReader<File>>,
}

/// The place of a line in its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    /// The number of the line, counted from 1.
    pub(super) line: u64,
}

/// The values of some lines and their places.
type Group<T> = Vec<(Place, Result<T, Invalid<T>>)>;

/// A line that cannot be read.
#[derive(Debug)]
pub(super) struct Invalid<T> {
    pub(super) error: DataDirError,
    /// The value of the line after it, if the newline between them is damaged.
    pub(super) last: Option<T>,
}

// === impl LogFile ===

impl<'a> LogFile<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, DataDirError> {
        let file = File::open(path).map_err(|source| DataDirError::io("open", path, source))?;
        Ok(Self { path, lines: Lines::new(BufReader::with_capacity(1 << 18, file)) })
    }

    /// The offset of the next line.
    pub(super) fn offset(&self) -> u64 {
        self.lines.offset()
    }

    fn next(&mut self) -> Result<Option<Line>, DataDirError> {
        self.lines.next().map_err(|source| DataDirError::io("read", self.path, source))
    }

    /// The most instances that the file can have.
    pub(super) fn most_instances(&self) -> usize {
        let length = self.lines.length_of_file().unwrap_or_default();
        usize::try_from(length).unwrap_or(usize::MAX) / SHORTEST_INSTANCE
    }

    /// Reads all lines, parses them on all processors, which takes most of the time of a recovery, and hands them out
    /// in order with their places. While some are parsed, the ones before them are handed out.
    pub(super) fn read_all<T: DeserializeOwned + Send>(
        &mut self,
        mut take: impl FnMut(Place, Result<T, Invalid<T>>) -> Result<(), DataDirError>,
    ) -> Result<(), DataDirError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut parsed: Group<T> = Vec::new();
        loop {
            let lines = self.group()?;
            if lines.is_empty() && parsed.is_empty() {
                return Ok(());
            }
            let (file, share) = (&*self, lines.len().div_ceil(threads).max(1));
            let place = |line: &Line| Place { offset: line.offset, line: line.number };
            let parse = |line: &Line| (place(line), file.parse(line));
            parsed = std::thread::scope(|scope| {
                let parts: Vec<_> = lines
                    .chunks(share)
                    .map(|part| scope.spawn(move || part.iter().map(parse).collect::<Vec<_>>()))
                    .collect();
                parsed.drain(..).try_for_each(|(place, value)| take(place, value))?;
                let parts = parts.into_iter();
                Ok(parts.flat_map(|part| part.join().expect("parsing does not panic")).collect())
            })?;
        }
    }

    /// Reads the lines that are parsed together.
    fn group(&mut self) -> Result<Vec<Line>, DataDirError> {
        let mut lines = Vec::new();
        let start = self.lines.offset();
        while lines.len() < GROUP
            && self.lines.offset() - start < GROUP_LENGTH
            && let Some(line) = self.next()?
        {
            lines.push(line);
        }
        Ok(lines)
    }

    pub(super) fn header(&mut self, kind: &str) -> Result<Header, DataDirError> {
        let path = self.path;
        let damaged = |problem: &str| DataDirError::Damaged {
            path: path.to_owned(),
            line: 1,
            problem: problem.to_owned(),
        };
        let line = self.next()?.ok_or_else(|| damaged("it is missing"))?;
        let json = line.json().map_err(damaged)?;
        /// What every version has.
        #[derive(serde::Deserialize)]
        struct AnyVersion {
            portolan: String,
            version: u32,
        }
        let any: AnyVersion =
            serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?;
        if any.portolan != kind {
            return Err(damaged(&format!("it begins a {}, expected a {kind}", any.portolan)));
        }
        if !(OLDEST..=VERSION).contains(&any.version) {
            return Err(DataDirError::Version {
                path: path.to_owned(),
                found: any.version,
                expected: VERSION,
            });
        }
        let header = serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?;
        Ok(header)
    }

    /// The error of damage in the line that was read last.
    pub(super) fn damaged(&self, problem: String) -> DataDirError {
        DataDirError::Damaged { path: self.path.to_owned(), line: self.lines.number(), problem }
    }

    fn parse<T: DeserializeOwned>(&self, line: &Line) -> Result<T, Invalid<T>> {
        let problem = match line.json() {
            Ok(json) => match serde_json::from_slice(json) {
                Ok(value) => return Ok(value),
                Err(error) => error.to_string(),
            },
            Err(problem) => problem.to_owned(),
        };
        let error =
            DataDirError::Damaged { path: self.path.to_owned(), line: line.number, problem };
        let last = line.last_json().and_then(|json| serde_json::from_slice(json).ok());
        Err(Invalid { error, last })
    }
}
