//! The port that each service had last time, in a file that outlives a reboot.
//!
//! Only a convenience: whatever is wrong with the file, a port is found without it. It is a list of
//! JSON lines, the last of a service counts, and a line is added in one write; so processes need not
//! wait for each other, and a torn line costs itself only.

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

/// The file within the state folder.
const FILE: &str = "ports.jsonl";
/// What is read of it at most, in bytes.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// From this size on it is written anew with the last line of each service only, when it is read;
/// and it is read again after a process has added as much.
const TIDY_SIZE: usize = 256 * 1024;
/// How many services are kept then; those that got a port last.
const KEPT: usize = 1000;

/// What is known of earlier runs.
#[derive(Debug)]
pub(crate) struct Sticky {
    path: PathBuf,
    known: Mutex<Option<Known>>,
}

/// A service in its place: two working copies of a project are two.
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
    /// What the service preferred then. Where it prefers something else now, it means it.
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
    /// How many bytes were added since it was read.
    added: usize,
}

// === impl Sticky ===

impl Sticky {
    /// What is known in this folder; nothing is read yet.
    pub(crate) fn in_directory(folder: &Path) -> Self {
        Self { path: folder.join(FILE), known: Mutex::default() }
    }

    /// The port that the service had last time, where it prefers now what it preferred then.
    pub(crate) fn port(&self, key: &Key, preferred: Option<u16>) -> Option<u16> {
        let mut known = self.known.lock();
        let last = known.get_or_insert_with(|| self.load()).ports.get(key)?;
        (last.preferred == preferred).then_some(last.port)
    }

    /// Keeps the port for the next run.
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
            Err(error) => self.complain(&error, "Cannot keep the port for the next run"),
        }
        known.ports.insert(key, last);
        if known.added >= TIDY_SIZE {
            *known = self.load();
        }
    }

    fn load(&self) -> Known {
        match self.read() {
            Ok(text) => self.take_in(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::default(),
            Err(error) => {
                self.complain(&error, "Cannot read the ports of the last run");
                Known::default()
            }
        }
    }

    fn read(&self) -> io::Result<String> {
        let mut bytes = Vec::new();
        let mut file = open(&self.path, OpenOptions::new().read(true))?;
        // Of a larger one the end, because the last line counts.
        file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(MAX_SIZE)))?;
        file.take(MAX_SIZE).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn take_in(&self, text: &str) -> Known {
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let read: Vec<Line> =
            lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let broken = lines.len() - read.len();
        if broken > 0 {
            warn!(path = %self.path.display(), broken, "Ports of the last run are partly unreadable");
        }
        let torn = !text.is_empty() && !text.ends_with('\n');
        if text.len() >= TIDY_SIZE {
            return self.tidy(read).unwrap_or_else(|error| {
                self.complain(&error, "Cannot tidy the ports of the last run");
                Known::default()
            });
        }
        Known {
            ports: read.into_iter().map(|line| (line.key, line.last)).collect(),
            torn,
            added: 0,
        }
    }

    /// Writes the last line of each service to a new file and puts it in place of the old one. What
    /// another process adds meanwhile is lost, which costs stickiness only.
    fn tidy(&self, lines: Vec<Line>) -> io::Result<Known> {
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

    fn complain(&self, error: &io::Error, what: &str) {
        warn!(path = %self.path.display(), error = %error, "{what}");
    }
}

/// The folder is this user's alone; a link in it leads elsewhere all the same, so none is followed.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    options.mode(0o600).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests;
