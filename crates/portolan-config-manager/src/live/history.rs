//! What changed, when, and who changed it.

use std::collections::VecDeque;
use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::ChangedSetting;

/// How many versions the history has. Older ones are forgotten.
pub const MAX_HISTORY: usize = 100;

/// Who changes the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Author {
    /// The start of the process.
    Start,
    /// A file that was changed.
    File,
    /// The signal SIGHUP.
    Signal,
    /// The client of a request, by the name of its identity.
    Client(String),
    /// A part of the same process, by its name.
    Program(String),
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::File => f.write_str("file"),
            Self::Signal => f.write_str("SIGHUP"),
            Self::Client(name) => write!(f, "client {name}"),
            Self::Program(name) => write!(f, "program {name}"),
        }
    }
}

impl Serialize for Author {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// A version of the settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryEntry {
    /// Its number, from 1.
    pub version: u64,
    /// When it came into force.
    pub at: Timestamp,
    /// Who changed the settings.
    pub author: Author,
    /// The settings that changed.
    pub changed: Vec<ChangedSetting>,
}

/// The latest versions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<HistoryEntry>);

impl History {
    pub(crate) fn push(&mut self, entry: HistoryEntry) {
        if self.0.len() == MAX_HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    pub(crate) fn entries(&self) -> Vec<HistoryEntry> {
        self.0.iter().cloned().collect()
    }
}
