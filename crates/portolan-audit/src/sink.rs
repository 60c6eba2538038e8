//! Where records are written, one file a kind.

mod daemon;
mod file;

use std::io::{self, Write as _};

use serde_json::{Map, Value};

use crate::chain::ChainEnd;
use crate::{AuditConfig, AuditError, AuditSink};

use daemon::Daemon;
use file::LogFile;

/// A sink, and the end of the chain that it has written.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Continues the chain of the file.
    File(LogFile),
    /// A chain that begins with this process: what was written before cannot be read.
    Stream { target: Target, end: ChainEnd },
}

#[derive(Debug)]
pub(crate) enum Target {
    Daemon(Daemon),
    Stderr,
}

/// How many of the records were written, and why not all of them.
pub(crate) struct Written {
    pub(crate) count: usize,
    pub(crate) result: Result<(), AuditError>,
}

// === impl Sink ===

impl Sink {
    pub(crate) fn new(config: &AuditConfig) -> Self {
        let target = match config.sink {
            AuditSink::File => return Self::File(LogFile::new(config)),
            AuditSink::Journald => Target::Daemon(Daemon::journal()),
            AuditSink::Syslog => Target::Daemon(Daemon::syslog()),
            AuditSink::Stderr | AuditSink::Log => Target::Stderr,
        };
        Self::Stream { target, end: ChainEnd::START }
    }

    /// Opens it, so that a mistake in the settings is found at the start.
    pub(crate) fn open(&mut self) -> Result<(), AuditError> {
        match self {
            Self::File(file) => file.open(),
            Self::Stream { target: Target::Daemon(daemon), .. } => daemon.connect(),
            Self::Stream { target: Target::Stderr, .. } => Ok(()),
        }
    }

    /// Appends records to the chain and writes them.
    pub(crate) fn write(&mut self, records: &[Map<String, Value>]) -> Written {
        match self {
            Self::File(file) => {
                let result = file.write(records);
                Written { count: if result.is_ok() { records.len() } else { 0 }, result }
            }
            Self::Stream { target, end } => {
                for (count, record) in records.iter().enumerate() {
                    // A record that could not be written is not part of the chain.
                    let mut next = *end;
                    if let Err(error) = target.write(&next.append(record)) {
                        return Written { count, result: Err(error) };
                    }
                    *end = next;
                }
                Written { count: records.len(), result: Ok(()) }
            }
        }
    }

    /// Makes everything that was written durable.
    pub(crate) fn close(&mut self) {
        if let Self::File(file) = self {
            file.close();
        }
    }
}

// === impl Target ===

impl Target {
    fn write(&mut self, line: &str) -> Result<(), AuditError> {
        match self {
            Self::Daemon(daemon) => daemon.send(line.trim_end()),
            Self::Stderr => {
                io::stderr().lock().write_all(line.as_bytes()).map_err(AuditError::Stderr)
            }
        }
    }
}
