//! Which process holds a lock: fcntl(2) does not tell of the locks of file descriptions, `/proc/PID/fdinfo` does.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

/// A process that has a description with the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// Finds another process that has locked the byte of the file; `None` if the system does not show it.
pub(crate) fn find(file: &File, byte: u64) -> Option<LockHolder> {
    let inode = file.metadata().ok()?.ino();
    let own = std::process::id();
    let ids = fs::read_dir("/proc").ok()?.flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid = ids.filter(|pid| *pid != own).find(|pid| has_locked(*pid, inode, byte))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(LockHolder { pid, name: name.trim_end().escape_debug().to_string() })
}

fn has_locked(pid: u32, inode: u64, byte: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return false };
    let texts = descriptors.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.into_iter().any(|text| text.lines().any(|line| is_lock_on(line, inode, byte)))
}

/// Parses a line such as `lock: 1: OFDLCK ADVISORY  WRITE -1 00:1f:4711 1099511627776 EOF`.
fn is_lock_on(line: &str, inode: u64, byte: u64) -> bool {
    let Some(lock) = line.strip_prefix("lock:") else { return false };
    let fields: Vec<&str> = lock.split_whitespace().collect();
    let [_, kind, _, _, _, file, start, end] = fields[..] else { return false };
    let is_file = file.rsplit(':').next().and_then(|it| it.parse().ok()) == Some(inode);
    let last = if end == "EOF" { Some(u64::MAX) } else { end.parse().ok() };
    let range = start.parse().ok().zip(last);
    kind != "FLOCK" && is_file && range.is_some_and(|(start, last)| (start..=last).contains(&byte))
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_of_another_byte_or_file_is_not_meant() {
        let line = "lock:\t1: OFDLCK ADVISORY  WRITE -1 00:1f:4711 100 199";
        assert!(is_lock_on(line, 4711, 100) && is_lock_on(line, 4711, 199));
        assert!(!is_lock_on(line, 4711, 200) && !is_lock_on(line, 471, 100));
        assert!(is_lock_on(&line.replace("199", "EOF"), 4711, u64::MAX));
        assert!(!is_lock_on(&line.replace("OFDLCK", "FLOCK"), 4711, 100));
        for broken in ["", "lock:", "lock: 1: a b c d e f", "lock: 1: a b c d e f g h i"] {
            assert!(!is_lock_on(broken, 4711, 100), "{broken:?}");
        }
    }
}
