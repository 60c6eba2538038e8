//! Sticky ports: the last port of each service, in a file that outlives a reboot.
//!
//! A convenience: without the file, or with a damaged one, ports are granted all the same. The file
//! has JSON lines, of which the last of a service counts. A line is appended with one write, so
//! processes need no lock, and a torn line affects only itself.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use portolan_core::{PortName, Scope, ServiceName};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// The file in the state directory.
const FILE: &str = "ports.jsonl";
/// How many bytes are read at most.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// A file of this size, in bytes, is compacted when it is read. It is read again after this process
/// has appended as much.
const COMPACT_SIZE: usize = 256 * 1024;
/// How many services remain after compaction: the latest ones.
const KEPT: usize = 1000;

/// The sticky ports of a state directory.
#[derive(Debug)]
pub(crate) struct Sticky {
    path: PathBuf,
    known: Mutex<Option<Known>>,
}

/// A service and its working directory, so that two working copies of a project are distinct.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) scope: Scope,
    pub(crate) service: ServiceName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port_name: Option<PortName>,
    pub(crate) folder: Arc<str>,
}

/// The port of the last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    port: u16,
    /// The preferred port then. With another preferred port now, the sticky port does not apply.
    preferred: Option<u16>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    last: Last,
}

#[derive(Debug, Default)]
struct Known {
    ports: HashMap<Key, Last, RandomState>,
    /// Whether the file ends in the middle of a line.
    torn: bool,
    /// How many bytes this process appended since it was read.
    added: usize,
}

// === impl Sticky ===

impl Sticky {
    /// The sticky ports in this directory, which are read on first use.
    pub(crate) fn in_directory(folder: &Path) -> Self {
        Self { path: folder.join(FILE), known: Mutex::default() }
    }

    /// Returns the sticky port, if the service prefers the same port as then.
    pub(crate) fn port(&self, key: &Key, preferred: Option<u16>) -> Option<u16> {
        let mut known = self.known.lock();
        let last = known.get_or_insert_with(|| self.load()).ports.get(key)?;
        (last.preferred == preferred).then_some(last.port)
    }

    /// Stores the sticky port.
    pub(crate) fn remember(&self, key: Key, preferred: Option<u16>, port: u16) {
        let last = Last { port, preferred };
        let mut known = self.known.lock();
        let known = known.get_or_insert_with(|| self.load());
        if known.ports.get(&key) == Some(&last) {
            return;
        }
        let line = Line { key: key.clone(), last };
        match self.append(&line, known.torn) {
            Ok(length) => (known.torn, known.added) = (false, known.added + length),
            Err(error) => self.warn(&error, "Sticky port not stored"),
        }
        known.ports.insert(key, last);
        if known.added >= COMPACT_SIZE {
            *known = self.load();
        }
    }

    fn load(&self) -> Known {
        match self.read() {
            Ok(text) => self.load_lines(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::default(),
            Err(error) => {
                self.warn(&error, "Sticky ports unreadable");
                Known::default()
            }
        }
    }

    fn read(&self) -> io::Result<String> {
        let mut bytes = Vec::new();
        let mut file = open(&self.path, OpenOptions::new().read(true))?;
        // Of a larger file the end, because the last line of a service counts.
        file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(MAX_SIZE)))?;
        file.take(MAX_SIZE).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn load_lines(&self, text: &str) -> Known {
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let read: Vec<Line> =
            lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let broken = lines.len() - read.len();
        if broken > 0 {
            warn!(path = %self.path.display(), broken, "Sticky ports partly unreadable");
        }
        let torn = !text.is_empty() && !text.ends_with('\n');
        if text.len() >= COMPACT_SIZE {
            return self.compact(read).unwrap_or_else(|error| {
                self.warn(&error, "Sticky ports not compacted");
                Known::default()
            });
        }
        Known {
            ports: read.into_iter().map(|line| (line.key, line.last)).collect(),
            torn,
            added: 0,
        }
    }

    /// Compacts the file: replaces it by one with the last line of each service. Lines that another
    /// process appends meanwhile are lost, which affects stickiness only.
    fn compact(&self, lines: Vec<Line>) -> io::Result<Known> {
        let mut known = Known::default();
        let mut text = Vec::new();
        for line in lines.into_iter().rev() {
            if known.ports.len() < KEPT && !known.ports.contains_key(&line.key) {
                serde_json::to_writer(&mut text, &line)?;
                text.push(b'\n');
                known.ports.insert(line.key, line.last);
            }
        }
        let fresh = self.path.with_extension(format!("new-{}", std::process::id()));
        let written = open(&fresh, OpenOptions::new().write(true).create(true).truncate(true))
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&fresh, &self.path));
        if written.is_err() {
            _ = fs::remove_file(&fresh);
        }
        written.map(|()| known)
    }

    fn append(&self, line: &Line, torn: bool) -> io::Result<usize> {
        let mut text = Vec::new();
        if torn {
            text.push(b'\n');
        }
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        open(&self.path, OpenOptions::new().append(true).create(true))?.write_all(&text)?;
        Ok(text.len())
    }

    fn warn(&self, error: &io::Error, what: &str) {
        warn!(path = %self.path.display(), error = %error, "{what}");
    }
}

/// Opens a file without following a symbolic link, which could lead out of the private directory.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    options.mode(0o600).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests;
