//! The process that a pid file names.
//!
//! Whoever can write the file chooses the process that gets the signal. So a file counts only if no user but its owner
//! can write it, and its owner may signal that process anyhow: this user, root, or the user of the process, as for
//! `PIDFile=` of systemd.service(5), which accepts a file of another user than root only for a process of the unit itself.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use portolan_core::{Remedy, quoted};
use portolan_host_facts::{is_private_group, user_ids, user_name};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::place::{Place, PlaceError, is_trusted};

/// The maximum size of a pid file, in bytes.
const MAX_SIZE: u64 = 64;
const GROUP_WRITABLE: u32 = 0o020;
const WRITABLE: u32 = 0o002;

/// Why a pid file names no process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidFileError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("there is no such file")]
    Missing,
    #[error("it has more than {MAX_SIZE} bytes")]
    Large,
    #[error("{0} is no process id")]
    NoProcessId(String),
    #[error("other users can write it (mode {0:04o}), and would choose the process")]
    Writable(u32),
    #[error("it belongs to user {owner}, who may not signal process {pid}")]
    ForeignOwner { owner: String, pid: i32 },
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Opens the process that the file names.
pub(crate) fn process_of(pid_file: &Path) -> Result<OwnedFd, PidFileError> {
    let file = Place::of(pid_file)?.open()?.ok_or(PidFileError::Missing)?;
    // What is checked is what is read.
    let metadata = file.metadata()?;
    check_mode(&metadata)?;
    let pid = read(&file)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
    let owner = metadata.uid();
    // Looked up after the process was opened: if it ends meanwhile, the signal reaches nobody.
    if !is_trusted(owner)? && !may_signal(owner, pid) {
        let (owner, pid) = (user_name(owner), pid.as_raw_nonzero().get());
        return Err(PidFileError::ForeignOwner { owner, pid });
    }
    Ok(process)
}

fn check_mode(metadata: &Metadata) -> Result<(), PidFileError> {
    let mode = metadata.mode();
    let by_group = mode & GROUP_WRITABLE != 0 && !is_private_group(metadata.gid(), metadata.uid());
    match by_group || mode & WRITABLE != 0 {
        true => Err(PidFileError::Writable(mode & 0o7777)),
        false => Ok(()),
    }
}

fn read(file: &File) -> Result<Pid, PidFileError> {
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(PidFileError::Large);
    }
    let text = String::from_utf8_lossy(&bytes);
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    pid.ok_or_else(|| PidFileError::NoProcessId(quoted(text.trim())))
}

/// Whether kill(2) lets the user signal the process: it is the real or the saved user of it.
fn may_signal(user: u32, pid: Pid) -> bool {
    let ids = user_ids(pid.as_raw_nonzero().get().unsigned_abs());
    matches!(ids[..], [real, _, saved, _] if real == user || saved == user)
}

// === impl PidFileError ===

impl Remedy for PidFileError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::Place(error) => return error.remedy(),
            Self::Missing => "start the program that writes it, or correct --pid-file",
            Self::Writable(_) => {
                "run `chmod go-w` on it, or let the program write it with umask 022"
            }
            Self::ForeignOwner { .. } => {
                "name a pid file that root, this user or the user of the process writes, in a directory that other users \
                 cannot write to"
            }
            Self::Large | Self::NoProcessId(_) => {
                "name the file in which the program writes its process id"
            }
            Self::System(_) => return None,
        };
        Some(remedy.into())
    }
}

#[cfg(test)]
mod tests;
