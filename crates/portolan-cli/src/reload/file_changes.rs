//! Changes of a file: written in place, replaced by an editor, or swapped by a symbolic link on the way to it, as Kubernetes does
//! with a ConfigMap.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_core::FileStamp;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

/// How often the file is looked at besides: a network file system reports no changes of other hosts.
const LOOK: Duration = Duration::from_secs(5);
/// How long after a change the file is read, because an editor makes several at once.
const SETTLE: Duration = Duration::from_millis(50);

/// Follows a file.
pub(crate) struct FileChanges {
    file: Option<PathBuf>,
    stamp: FileStamp,
    /// `None` if the system has no more of them.
    events: Option<AsyncFd<OwnedFd>>,
    ticks: Interval,
    has_changed: bool,
}

// === impl FileChanges ===

impl FileChanges {
    /// Follows this file, if there is one. Must be called within a tokio runtime.
    pub(crate) fn of(file: Option<&Path>) -> Self {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changes = Self {
            file: file.map(Path::to_owned),
            stamp: FileStamp::of(file),
            events: events.and_then(registered),
            ticks,
            has_changed: false,
        };
        changes.watch();
        changes
    }

    /// Waits until the file has changed; for ever if there is none. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        let Some(file) = self.file.clone() else { return std::future::pending().await };
        while !self.has_changed {
            let Self { events, ticks, .. } = self;
            let is_named = tokio::select! {
                is_named = named(events.as_ref(), &file) => is_named,
                _ = ticks.tick() => false,
            };
            self.has_changed = is_named || FileStamp::of([file.as_path()]) != self.stamp;
        }
        sleep(SETTLE).await;
        if let Some(events) = &self.events {
            drain(events, &file);
        }
        self.has_changed = false;
        self.stamp = FileStamp::of([file.as_path()]);
        // The directory that it is in may be another one now.
        self.watch();
    }

    /// Watches the directory of the path, and the one in which the file really is. A file that is written is complete when its
    /// writer closes it.
    fn watch(&self) {
        let (Some(events), Some(file)) = (&self.events, &self.file) else { return };
        let real = file.canonicalize().ok();
        for file in [Some(file), real.as_ref()].into_iter().flatten() {
            let directory = match file.parent() {
                Some(directory) if !directory.as_os_str().is_empty() => directory,
                _ => Path::new("."),
            };
            let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
            // Without it, the file is looked at.
            _ = inotify::add_watch(events.get_ref(), directory, flags);
        }
    }
}

#[expect(deprecated, reason = "its replacement is unsafe; the descriptor belongs to it alone")]
fn registered(events: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::new(events).ok()
}

/// Waits for an event, and says whether it names the file.
async fn named(events: Option<&AsyncFd<OwnedFd>>, file: &Path) -> bool {
    let Some(events) = events else { return std::future::pending().await };
    match events.readable().await {
        Ok(mut ready) => {
            let is_named = drain(events, file);
            ready.clear_ready();
            is_named
        }
        Err(_) => std::future::pending().await,
    }
}

/// Reads all events, and says whether one names the file.
fn drain(events: &AsyncFd<OwnedFd>, file: &Path) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(events.get_ref(), &mut buffer);
    let mut is_named = false;
    while let Ok(event) = reader.next() {
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
        is_named |= name.is_some() && name == file.file_name();
    }
    is_named
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    /// Far longer than any change takes to be seen.
    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn every_way_to_change_a_file_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (version, folder) in [("1", "..1"), ("2", "..2")] {
            fs::create_dir(path(folder)).unwrap();
            fs::write(path(folder).join("portolan.yaml"), version).unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/portolan.yaml", path("portolan.yaml")).unwrap();
        let file = path("portolan.yaml");
        let mut changes = FileChanges::of(Some(&file));

        symlink("..2", path("..new")).unwrap();
        fs::rename(path("..new"), path("..data")).unwrap();
        timeout(LIMIT, changes.changed()).await.expect("a link on the way is swapped");
        assert_eq!(fs::read_to_string(&file).unwrap(), "2");

        fs::write(&file, "3").unwrap();
        timeout(LIMIT, changes.changed()).await.expect("it is written where it really is");

        fs::write(path("other"), "4").unwrap();
        fs::rename(path("other"), &file).unwrap();
        timeout(LIMIT, changes.changed()).await.expect("it is replaced, as by an editor");

        fs::write(&file, "5").unwrap();
        timeout(LIMIT, changes.changed()).await.expect("it is written in place");
    }
}
