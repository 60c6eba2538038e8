//! Reads key files.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use portolan_core::{Secret, secret};

use super::{KeyProblem, SharedKey};

/// The largest key file in bytes.
const MAX_SIZE: u64 = 4096;

/// Reads the key in a file that only its owner can read.
pub(crate) fn read(path: &Path) -> Result<SharedKey, KeyProblem> {
    let key = SharedKey::from(read_secret(path)?);
    let in_file =
        |problem| KeyProblem::Contents { path: path.to_owned(), problem: Box::new(problem) };
    key.check().map_err(in_file)?;
    Ok(key)
}

/// Reads the secret in a file that only its owner can read; of a file that belongs to root, also its group. A line break
/// at the end does not belong to the secret.
///
/// # Errors
/// The file cannot be read, other users can read or change it, or it is empty or not text.
pub fn read_secret(path: &Path) -> Result<Secret, KeyProblem> {
    let unreadable = |source| KeyProblem::Read { path: path.to_owned(), source };
    // First, because opening a pipe waits for its writer.
    check_kind(path, &path.metadata().map_err(unreadable)?)?;
    let file = File::open(path).map_err(unreadable)?;
    check_permissions(path, &file.metadata().map_err(unreadable)?)?;
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let not_a_key = || KeyProblem::NotAKey { path: path.to_owned(), limit: MAX_SIZE };
    if bytes.len() as u64 > MAX_SIZE {
        return Err(not_a_key());
    }
    let text = String::from_utf8(bytes).map_err(|_| not_a_key())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(KeyProblem::Blank(path.to_owned())),
        secret => Ok(secret.into()),
    }
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), KeyProblem> {
    if metadata.is_file() { Ok(()) } else { Err(KeyProblem::NotAFile(path.to_owned())) }
}

#[cfg(unix)]
fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), KeyProblem> {
    use std::os::unix::fs::MetadataExt;
    let mode = metadata.mode() & 0o7777;
    if secret::is_exposed(mode, metadata.uid()) {
        return Err(KeyProblem::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &Metadata) -> Result<(), KeyProblem> {
    Ok(())
}
