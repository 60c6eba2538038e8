//! Walks to a directory component by component, so that no other user can redirect the way.
//!
//! Each directory on the way must belong to this user or root, and may be writable by others only with the
//! sticky bit, as `/tmp`. A symbolic link is followed if this user or root made it, such as `/var/run`; the last
//! component must not be one.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::processes::is_private_group;

/// How many symbolic links are followed, as by the kernel.
const MAX_LINKS: usize = 40;
/// How often a component is opened that other processes create and remove.
const TRIES: usize = 3;

/// Why the walk ended before the directory.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A system call failed.
    System(io::Error),
    /// The last component is a link or a file.
    NotADirectory,
    /// Another user could redirect the walk at this component.
    Redirectable { component: PathBuf, owner: u32, mode: u32 },
}

/// Where the walk is.
struct Walk {
    directory: OwnedFd,
    path: PathBuf,
    left: VecDeque<OsString>,
    links: usize,
    /// The users whose directories and links are followed.
    trusted: [u32; 3],
}

/// Walks to the directory and returns what is known of it. Missing directories are created, for this user only.
pub(super) fn create(path: &Path) -> Result<Stat, Refusal> {
    let mut walk = Walk::start(path).map_err(Refusal::System)?;
    while walk.step()? {}
    Ok(rustix::fs::fstat(&walk.directory).map_err(io::Error::from)?)
}

// === impl Walk ===

impl Walk {
    fn start(path: &Path) -> io::Result<Self> {
        let directory = open_root()?;
        let own = rustix::process::geteuid().as_raw();
        // In a user namespace without root's id, the owner of `/` stands for root.
        let trusted = [own, 0, rustix::fs::fstat(&directory)?.st_uid];
        let left = components(&std::path::absolute(path)?).collect();
        Ok(Self { directory, path: "/".into(), left, links: 0, trusted })
    }

    /// Opens the next component; false if none is left.
    fn step(&mut self) -> Result<bool, Refusal> {
        let Some(name) = self.left.pop_front() else { return Ok(false) };
        let found = self.open_or_create(&name).map_err(Refusal::System)?;
        let stat = rustix::fs::fstat(&found).map_err(io::Error::from)?;
        let path = self.path.join(&name);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                // The last one is checked by the caller: it must be private.
                if !self.left.is_empty() && !self.is_trusted(&stat) {
                    return Err(redirectable(path, &stat));
                }
                (self.directory, self.path) = (found, path);
            }
            FileType::Symlink if !self.left.is_empty() => {
                if !self.trusted.contains(&stat.st_uid) {
                    return Err(redirectable(path, &stat));
                }
                self.follow(&found)?;
            }
            _ if self.left.is_empty() => return Err(Refusal::NotADirectory),
            _ => return Err(Refusal::System(Errno::NOTDIR.into())),
        }
        Ok(true)
    }

    /// Opens the component itself, also if it is a link.
    fn open_or_create(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.directory, name, flags, Mode::empty());
        for _ in 0..TRIES {
            match open() {
                Err(Errno::NOENT) => {}
                opened => return Ok(opened?),
            }
            match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(open()?)
    }

    fn follow(&mut self, link: &OwnedFd) -> Result<(), Refusal> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Refusal::System(Errno::LOOP.into()));
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new()).map_err(io::Error::from)?;
        let target = Path::new(OsStr::from_bytes(target.to_bytes()));
        if target.is_absolute() {
            self.directory = open_root().map_err(Refusal::System)?;
            self.path = "/".into();
        }
        for component in components(target).collect::<Vec<_>>().into_iter().rev() {
            self.left.push_front(component);
        }
        Ok(())
    }

    fn is_trusted(&self, stat: &Stat) -> bool {
        let mode = Mode::from_raw_mode(stat.st_mode);
        let by_others = mode.contains(Mode::WOTH)
            || mode.contains(Mode::WGRP) && !is_private_group(stat.st_gid, stat.st_uid);
        self.trusted.contains(&stat.st_uid) && (!by_others || mode.contains(Mode::SVTX))
    }
}

// === impl Refusal ===

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

fn redirectable(component: PathBuf, stat: &Stat) -> Refusal {
    Refusal::Redirectable { component, owner: stat.st_uid, mode: stat.st_mode & 0o7777 }
}

fn open_root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/", flags, Mode::empty())?)
}

/// The names on the way, `..` included.
fn components(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}
