//! The record of configuration files that this user trusts: one small file for each, in the state directory of the user,
//! with the path and the digest of what the file said.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use portolan_core::{hex, replace_file};
use portolan_host_facts::{DirectoryError, directories};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The folder of the records.
const FOLDER: &str = "trusted";
/// The variable that names another state directory.
const SETTING: &str = "XDG_STATE_HOME";

/// The records.
#[derive(Debug)]
pub(crate) struct TrustStore {
    folder: PathBuf,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrustRecord {
    /// The path of the file, without symbolic links.
    pub(crate) path: String,
    /// The digest of its contents (SHA-256).
    pub(crate) sha256: String,
    /// When it was trusted.
    pub(crate) since: Timestamp,
}

/// Whether a file is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trusted {
    /// It is, with these contents.
    Yes,
    /// It was, with other contents.
    Changed,
    /// It is not.
    No,
}

// === impl TrustStore ===

impl TrustStore {
    /// Opens the records; `None` if no state directory is known.
    pub(crate) fn open() -> Result<Option<Self>, DirectoryError> {
        let state = directories::state(None, SETTING)?;
        Ok(state.map(|state| Self { folder: state.join(FOLDER) }))
    }

    /// Returns whether a file with these contents is trusted.
    pub(crate) fn get(&self, path: &Path, contents: &[u8]) -> Trusted {
        let record = fs::read(self.record_of(path)).ok();
        let record: Option<TrustRecord> =
            record.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match record {
            Some(record) if record.sha256 == digest(contents) => Trusted::Yes,
            Some(_) => Trusted::Changed,
            None => Trusted::No,
        }
    }

    /// Records that a file with these contents is trusted.
    pub(crate) fn add(&self, path: &Path, contents: &[u8]) -> io::Result<TrustRecord> {
        fs::create_dir_all(&self.folder)?;
        let target = self.record_of(path);
        let path = path.canonicalize()?.to_string_lossy().into_owned();
        let record = TrustRecord { path, sha256: digest(contents), since: Timestamp::now() };
        let text = serde_json::to_vec(&record)?;
        replace_file(&target, 0o600, |mut file| file.write_all(&text))?;
        Ok(record)
    }

    /// Removes the record of a file; false if there is none.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<bool> {
        match fs::remove_file(self.record_of(path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the records, sorted by path.
    pub(crate) fn list(&self) -> io::Result<Vec<TrustRecord>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut records: Vec<TrustRecord> = entries
            .flatten()
            .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
            .collect();
        records.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(records)
    }

    /// The record of a path, under the digest of the path: it has any length and any characters.
    fn record_of(&self, path: &Path) -> PathBuf {
        let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let path = path.canonicalize().unwrap_or_else(|_| absolute());
        self.folder.join(format!("{}.json", digest(path.as_os_str().as_bytes())))
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_trusted_with_its_contents_only_until_it_is_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let store = TrustStore { folder: directory.path().join("trusted") };
        let file = directory.path().join("portolan.yaml");
        fs::write(&file, "scope: a\n").unwrap();
        assert_eq!(store.get(&file, b"scope: a\n"), Trusted::No);
        let record = store.add(&file, b"scope: a\n").unwrap();
        assert_eq!(store.get(&file, b"scope: a\n"), Trusted::Yes);
        assert_eq!(store.get(&file, b"scope: b\n"), Trusted::Changed);
        assert_eq!(store.list().unwrap(), [record]);
        assert!(store.remove(&file).unwrap() && !store.remove(&file).unwrap());
        assert_eq!(store.get(&file, b"scope: a\n"), Trusted::No);
    }
}
