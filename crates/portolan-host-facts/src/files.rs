//! Reading files whose content the kernel or an administrator wrote.

use std::fs;

/// Returns the file's text, with invalid UTF-8 replaced: a process may have any bytes as its name.
/// A file that cannot be read is empty, because `/proc` may be hidden and a process may be gone.
pub(crate) fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
