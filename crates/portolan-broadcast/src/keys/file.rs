//! Reads key files.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use super::{KeyProblem, SharedKey};

/// The largest key file in bytes.
const MAX_SIZE: u64 = 4096;

/// Reads the key in a file that only its owner can read.
pub(super) fn read(path: &Path) -> Result<SharedKey, KeyProblem> {
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
    let key = SharedKey::from(text.trim_end_matches(['\r', '\n']));
    let in_file =
        |problem| KeyProblem::Contents { path: path.to_owned(), problem: Box::new(problem) };
    key.check().map_err(in_file)?;
    Ok(key)
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), KeyProblem> {
    if metadata.is_file() { Ok(()) } else { Err(KeyProblem::NotAFile(path.to_owned())) }
}

#[cfg(unix)]
fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), KeyProblem> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(KeyProblem::Exposed { path: path.to_owned(), mode })
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &Metadata) -> Result<(), KeyProblem> {
    Ok(())
}
