//! Files that can be read to their end without waiting.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Opens a file for reading. Opening a pipe would wait for its writer, and a device may have no end.
///
/// # Errors
///
/// It cannot be opened, or is a pipe, a device or a directory.
pub fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)
}

/// Reads a whole file.
///
/// # Errors
///
/// As [`open_regular`], and if the file has more bytes than `limit`.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::other(format!("it has more than {limit} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        assert_eq!(read_regular(&path, 4).unwrap_err().to_string(), "it has more than 4 bytes");
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_directories_are_refused() {
        for other in ["/dev/zero", "/"] {
            let error = open_regular(Path::new(other)).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file");
        }
    }
}
