//! Whether files have changed.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the file system says of files. It differs if one was written, removed, or replaced by another one, also if a
/// symbolic link on the way to it was, as Kubernetes does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp(Vec<Option<FileState>>);

/// Device, inode, length, and time of modification in seconds and nanoseconds.
type FileState = (u64, u64, u64, i64, i64);

// === impl FileStamp ===

impl FileStamp {
    /// Looks at these files. Take the stamp before you read them, so that a change meanwhile is found later.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let identify =
            |file: Metadata| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec());
        let files = files.into_iter();
        Self(files.map(|file| fs::metadata(file).ok().map(identify)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_differs_after_each_kind_of_change() {
        let directory = tempfile::tempdir().unwrap();
        let [file, other] = ["file", "other"].map(|name| directory.path().join(name));
        let stamp = || FileStamp::of([file.as_path()]);
        let mut stamps = vec![stamp()];
        fs::write(&file, "a").unwrap();
        stamps.push(stamp());
        assert_eq!(stamp(), stamp());
        fs::write(&file, "longer").unwrap();
        stamps.push(stamp());
        fs::write(&other, "longer").unwrap();
        fs::rename(&other, &file).unwrap();
        stamps.push(stamp());
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        assert_eq!(stamp(), stamps[0], "a dangling link is as good as no file");
        fs::write(&other, "longer").unwrap();
        stamps.push(stamp());
        for (index, one) in stamps.iter().enumerate() {
            assert!(!stamps[..index].contains(one), "{index}");
        }
    }
}
