//! Whether files have changed.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::SystemTime;

/// What the file system says of files. It differs if one was written, removed, or replaced by another one, also if a
/// symbolic link on the way to it was, as Kubernetes does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileStamp(Vec<Option<FileState>>);

/// Device, inode, length and time of modification.
type FileState = (u64, u64, u64, Option<SystemTime>);

// === impl FileStamp ===

impl FileStamp {
    /// Looks at these files. Take the stamp before you read them, so that a change meanwhile is found later.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        Self(files.into_iter().map(|file| fs::metadata(file).ok().as_ref().map(state)).collect())
    }

    /// Looks at the files again, and says whether one has changed. A default stamp is that of no file, so that every file has.
    pub fn refresh<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) -> bool {
        let now = Self::of(files);
        let has_changed = now != *self;
        *self = now;
        has_changed
    }
}

#[cfg(unix)]
fn state(file: &Metadata) -> FileState {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino(), file.len(), file.modified().ok())
}

#[cfg(not(unix))]
fn state(file: &Metadata) -> FileState {
    (0, 0, file.len(), file.modified().ok())
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
        let mut followed = FileStamp::default();
        assert!(followed.refresh([file.as_path()]) && !followed.refresh([file.as_path()]));
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
