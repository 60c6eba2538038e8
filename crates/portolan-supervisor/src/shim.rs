//! The process between Portolan and a program: it ends what the program leaves behind, also if Portolan is killed.
//!
//! A shim has a process group of its own, so that no terminal sends it signals. It is the subreaper of its program:
//! every descendant remains below it, also in other sessions and process groups. It learns from a pipe that Portolan has
//! ended, however it has ended, and reports to Portolan by another one.

pub(crate) mod end;
mod program;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::child::raw_status;

/// How a shim is started: a program, and the arguments that make it one. [`ShimOptions`] follow.
#[derive(Debug, Clone)]
pub struct ShimCommand {
    /// The program, usually the one that runs.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// What Portolan tells a shim.
#[derive(Debug, Clone)]
pub struct ShimOptions {
    /// The descriptor of the pipe whose other end Portolan holds as long as the program may run.
    pub life: RawFd,
    /// The descriptor of the pipe for reports.
    pub report: RawFd,
    /// The process group of the program; 0 is one of its own.
    pub group: i32,
    /// Whether standard input is a terminal for the program alone, which becomes its controlling one.
    pub terminal: bool,
    /// The user of the program; `None` is that of the shim.
    pub user: Option<u32>,
    /// The group of the program.
    pub gid: Option<u32>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

/// Signals to the shim, as to all processes of a control group, are for its program.
const UNHEARD: [Signal; 7] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
];

/// Runs the program, and returns once it and all its descendants have ended.
pub fn run(options: &ShimOptions) -> io::Result<()> {
    let life = open(options.life, OpenOptions::new().read(true))?;
    let mut report = open(options.report, OpenOptions::new().write(true))?;
    _ = nix::unistd::close(options.life);
    _ = nix::unistd::close(options.report);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let ended = catch_signals()?;
    let program = match program::start(options) {
        Ok(Some(program)) => program,
        Ok(None) => return Ok(()),
        Err(error) => {
            let number = error.raw_os_error().unwrap_or_default();
            return writeln!(report, "failed {number}");
        }
    };
    writeln!(report, "started {}", program.as_raw_nonzero())?;
    let own = [&life, &report].map(|file| file.as_raw_fd());
    let own = [own[0], own[1], ended.0.as_raw_fd(), ended.1.as_raw_fd()];
    leave_descriptors(&own)?;
    supervise(program, &life, &mut report, &ended.0)?;
    end::all();
    Ok(())
}

/// Opens the pipe again, so that the program does not inherit it.
fn open(descriptor: RawFd, options: &mut OpenOptions) -> io::Result<File> {
    // Without this flag the call would wait if Portolan has ended already.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    options.custom_flags(flags).open(format!("/proc/self/fd/{descriptor}"))
}

/// Catches what would end the shim, unless it is ignored, which the program must inherit. Returns the pipe that tells of ended
/// children, and its other end.
fn catch_signals() -> io::Result<(UnixStream, UnixStream)> {
    let ignored = portolan_host_facts::ignored_signals();
    for number in UNHEARD.map(Signal::as_raw) {
        if ignored & (1 << (number - 1)) == 0 {
            signal_hook::flag::register(number, Arc::new(AtomicBool::new(false)))?;
        }
    }
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(Signal::CHILD.as_raw(), writer.try_clone()?)?;
    Ok((reader, writer))
}

/// Closes what only the program may have: its sockets, its leases and its outputs.
fn leave_descriptors(own: &[RawFd]) -> io::Result<()> {
    let numbers = std::fs::read_dir("/proc/self/fd")?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    let inherited = |number: &RawFd| {
        let path = format!("/proc/self/fdinfo/{number}");
        let flags = std::fs::read_to_string(path).unwrap_or_default();
        // 02000000 is O_CLOEXEC: such a descriptor is one of this process alone.
        !own.contains(number)
            && !flags.lines().any(|line| {
                let octal = line
                    .strip_prefix("flags:")
                    .and_then(|it| i64::from_str_radix(it.trim(), 8).ok());
                octal.is_some_and(|flags| flags & 0o2_000_000 != 0)
            })
    };
    let others: Vec<RawFd> = numbers.filter(|number| *number > 2).filter(inherited).collect();
    for number in others {
        _ = nix::unistd::close(number);
    }
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Reports when the program stops and when it ends, and waits until Portolan closes its end of the pipe. The program remains a
/// zombie until then, so that no other process gets its number while Portolan may send it signals.
fn supervise(
    program: Pid,
    life: &File,
    report: &mut File,
    mut ended: &UnixStream,
) -> io::Result<()> {
    let mut reported = false;
    loop {
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Portolan may be gone, so that nobody reads the reports.
        if !reported && waitid(WaitId::Pid(program), stopped).is_ok_and(|status| status.is_some()) {
            _ = writeln!(report, "stopped");
        }
        if !reported && let Some(status) = waitid(WaitId::Pid(program), peek)? {
            reported = true;
            _ = writeln!(report, "exited {}", raw_status(&status));
        }
        end::reap_others(program);
        let mut ready = [PollFd::new(life, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !ready[0].revents().is_empty() {
            return Ok(());
        }
        while ended.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    }
}
