//! Open file description locks (fcntl(2)) on single bytes of a file: inherited over fork and exec, and
//! released with the last descriptor.

use std::fs::File;
use std::io;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// How long to wait for a lock that other processes hold for milliseconds.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before a lock is tried again.
const PAUSE: Duration = Duration::from_millis(1);

/// Whether a lock can be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Excludes exclusive locks only.
    Shared,
    /// Excludes every other lock.
    Exclusive,
}

/// Locks a byte unless another description excludes it.
pub(crate) fn try_lock(file: &File, byte: u64, kind: Kind) -> io::Result<bool> {
    let kind = match kind {
        Kind::Shared => libc::F_RDLCK,
        Kind::Exclusive => libc::F_WRLCK,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&request(kind, byte, 1)?)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Locks a byte as soon as no other description excludes it; false after the timeout.
pub(crate) fn wait(file: &File, byte: u64, kind: Kind, timeout: Duration) -> io::Result<bool> {
    let tries = timeout.as_millis() / PAUSE.as_millis();
    for _ in 0..=tries {
        if try_lock(file, byte, kind)? {
            return Ok(true);
        }
        thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Releases a byte.
pub(crate) fn unlock(file: &File, byte: u64) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&request(libc::F_UNLCK, byte, 1)?))?;
    Ok(())
}

/// Whether another description has a lock on any of the bytes. Locks of this description are ignored.
pub(crate) fn is_locked(file: &File, byte: u64, count: u64) -> io::Result<bool> {
    let mut lock = request(libc::F_WRLCK, byte, count)?;
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn request(kind: i32, byte: u64, count: u64) -> io::Result<libc::flock> {
    let number = |number: u64| i64::try_from(number).map_err(io::Error::other);
    Ok(libc::flock {
        l_type: i16::try_from(kind).map_err(io::Error::other)?,
        l_whence: i16::try_from(libc::SEEK_SET).map_err(io::Error::other)?,
        l_start: number(byte)?,
        l_len: number(count)?,
        l_pid: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_belongs_to_the_description_and_ends_with_its_last_descriptor() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, other) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert!(try_lock(&one, 5, Kind::Exclusive).unwrap());
        assert!(!try_lock(&other, 5, Kind::Exclusive).unwrap());
        assert!(is_locked(&other, 0, 10).unwrap() && !is_locked(&other, 6, 1).unwrap());
        assert!(!is_locked(&one, 5, 1).unwrap(), "a description ignores its own locks");
        let copy = one.try_clone().unwrap();
        drop(one);
        assert!(is_locked(&other, 5, 1).unwrap(), "a copied descriptor keeps the lock");
        drop(copy);
        assert!(try_lock(&other, 5, Kind::Exclusive).unwrap());
    }

    #[test]
    fn shared_locks_exclude_only_exclusive_ones() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, other) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert!(try_lock(&one, 1, Kind::Shared).unwrap());
        assert!(try_lock(&other, 1, Kind::Shared).unwrap());
        assert!(!wait(&other, 1, Kind::Exclusive, PAUSE).unwrap());
        unlock(&one, 1).unwrap();
        assert!(wait(&other, 1, Kind::Exclusive, PAUSE).unwrap());
    }
}
