//! Files that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Puts a new file in the place of this one, durably: a reader sees the former contents or the new ones, and after a failure the
/// former ones are still there. The new file has these permission bits, less those of the umask, unless `write` changes them.
///
/// # Errors
///
/// The file cannot be created, written or renamed.
pub fn replace_file(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let new = new_name(path);
    let replaced = create_new(&new, mode).and_then(|file| {
        write(&file)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    });
    replaced.inspect_err(|_| drop(fs::remove_file(&new)))
}

/// A unique name in the same directory. A process id would not be unique: containers that share a volume have PID namespaces of their
/// own.
fn new_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.new", rand::random::<u64>()));
    name.into()
}

fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn file_has_the_former_contents_or_the_new_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "former").unwrap();
        let failed = replace_file(&path, 0o600, |mut file| {
            file.write_all(b"half")?;
            Err(io::Error::other("on purpose"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "former");
        replace_file(&path, 0o600, |mut file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no other file is left");
    }

    #[test]
    fn file_is_replaced_by_several_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let outer = replace_file(&path, 0o600, |mut file| {
            replace_file(&path, 0o600, |mut file| file.write_all(b"first"))?;
            file.write_all(b"last")
        });
        outer.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "last");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no other file is left");
    }

    #[cfg(unix)]
    #[test]
    fn file_has_the_permissions_that_are_given() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "former").unwrap();
        replace_file(&path, 0o600, |_| Ok(())).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }
}
