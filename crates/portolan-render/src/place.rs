//! Where a path leads, without the symbolic links of other users.
//!
//! Links are resolved component by component through open directories, and not by the kernel: `fs.protected_symlinks`
//! protects only who opens a path, and only in directories with the sticky bit. What is done in the place goes
//! through the directory that was found, also if another user replaces a component later.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, FileType};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use portolan_core::{Remedy, shell_word};
use portolan_host_facts::user_name;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// How many symbolic links are followed, as by the kernel.
const MAX_LINKS: usize = 40;

/// A name in a directory, which are known not to have been chosen by another user.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
    /// The path without links.
    path: PathBuf,
}

/// Why a path does not lead to a file that is safe to use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// A system call failed.
    #[error(transparent)]
    System(#[from] io::Error),
    /// A symbolic link on the way belongs to another user, who chooses its target.
    #[error("the symbolic link {} belongs to another user, {}", .link.display(), user_name(*.owner))]
    ForeignLink {
        /// The link.
        link: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// The path leads to a pipe, a device, a socket or a directory.
    #[error("it is {kind}, expected a regular file")]
    NotRegular {
        /// What it is, with its article.
        kind: &'static str,
    },
}

/// The way to a place.
struct Walk<'a> {
    directory: OwnedFd,
    path: PathBuf,
    left: VecDeque<OsString>,
    links: usize,
    /// The users whose links are followed.
    trusted: &'a [u32],
}

// === impl Place ===

impl Place {
    /// Finds the place of a file, which need not exist. Links of this user and of root are followed.
    pub(crate) fn of(path: &Path) -> Result<Self, PlaceError> {
        Self::trusting(path, &trusted()?)
    }

    fn trusting(path: &Path, trusted: &[u32]) -> Result<Self, PlaceError> {
        let (directory, path) = (open_root()?, std::path::absolute(path)?);
        let left = components(&path).collect();
        Walk { directory, path: "/".into(), left, links: 0, trusted }.resolve()
    }

    /// Returns the path without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file name.
    pub(crate) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Returns a path to this name in the directory that was found, for this process only.
    pub(crate) fn entry(&self, name: &OsStr) -> PathBuf {
        through(&self.directory).join(name)
    }

    /// Opens the file, if there is one, for reading. It does not wait for the writer of a pipe, and changes no device.
    pub(crate) fn open(&self) -> Result<Option<File>, PlaceError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(&self.directory, self.name(), flags, Mode::empty()) {
            Ok(found) => File::from(found),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let kind = found.metadata()?.file_type();
        if !kind.is_file() {
            return Err(PlaceError::NotRegular { kind: name_of(kind) });
        }
        // The file that was examined, whatever has its name now.
        Ok(Some(File::open(through(&found))?))
    }
}

// === impl Walk ===

impl Walk<'_> {
    fn resolve(mut self) -> Result<Place, PlaceError> {
        loop {
            let Some(name) = self.left.pop_front() else {
                return Err(PlaceError::NotRegular { kind: "a directory" });
            };
            let is_last = self.left.is_empty();
            if name == ".." {
                self.directory = self.open(&name, OFlags::DIRECTORY)?;
                self.path.pop();
                continue;
            }
            let found = match self.open(&name, OFlags::empty()) {
                Ok(found) => File::from(found),
                Err(error) if is_last && error.kind() == io::ErrorKind::NotFound => {
                    return Ok(self.place(&name));
                }
                Err(error) => return Err(error.into()),
            };
            let metadata = found.metadata()?;
            if metadata.is_symlink() {
                self.follow(&name, found, metadata.uid())?;
            } else if is_last {
                return Ok(self.place(&name));
            } else if metadata.is_dir() {
                (self.directory, self.path) = (found.into(), self.path.join(name));
            } else {
                return Err(io::Error::from(Errno::NOTDIR).into());
            }
        }
    }

    fn place(self, name: &OsStr) -> Place {
        Place { directory: self.directory, path: self.path.join(name) }
    }

    /// Opens the component itself, also if it is a link.
    fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, name, flags, Mode::empty())?)
    }

    fn follow(&mut self, name: &OsStr, link: File, owner: u32) -> Result<(), PlaceError> {
        if !self.trusted.contains(&owner) {
            return Err(PlaceError::ForeignLink { link: self.path.join(name), owner });
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(io::Error::from(Errno::LOOP).into());
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new()).map_err(io::Error::from)?;
        let target = Path::new(OsStr::from_bytes(target.to_bytes()));
        if target.is_absolute() {
            (self.directory, self.path) = (open_root()?, "/".into());
        }
        for component in components(target).collect::<Vec<_>>().into_iter().rev() {
            self.left.push_front(component);
        }
        Ok(())
    }
}

// === impl PlaceError ===

impl Remedy for PlaceError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::System(_) => None,
            Self::ForeignLink { link, .. } => Some(
                format!(
                    "name the file itself, or, if its target is the file that you mean, run `chown -h {} {}`",
                    user_name(rustix::process::geteuid().as_raw()),
                    shell_word(link)
                )
                .into(),
            ),
            Self::NotRegular { .. } => Some("name a regular file, or one that does not exist".into()),
        }
    }
}

/// Whether this is the user of this process or root.
pub(crate) fn is_trusted(user: u32) -> io::Result<bool> {
    Ok(trusted()?.contains(&user))
}

fn trusted() -> io::Result<[u32; 3]> {
    let root = rustix::fs::fstat(open_root()?)?;
    // In a user namespace without root's id, the owner of `/` stands for root.
    Ok([rustix::process::geteuid().as_raw(), 0, root.st_uid])
}

fn open_root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/", flags, Mode::empty())?)
}

/// A path to an open file or directory (proc_pid_fd(5)).
fn through(open: &impl std::os::fd::AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", open.as_fd().as_raw_fd()).into()
}

/// The names on the way, `..` included.
fn components(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_symlink() => "a symbolic link",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests;
