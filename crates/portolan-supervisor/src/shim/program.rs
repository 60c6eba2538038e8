//! Starts the program of a shim.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal};
use rustix::stdio::stdin;

use super::ShimOptions;

/// Starts the program, and returns its process id; `None` without a program.
pub(super) fn start(options: &ShimOptions) -> io::Result<Option<Pid>> {
    let [program, arguments @ ..] = &options.command[..] else { return Ok(None) };
    let mut command = Command::new(program);
    command.args(arguments).process_group(options.group);
    options.gid.map(|group| command.gid(group));
    options.user.map(|user| command.uid(user));
    if !options.terminal {
        return Ok(Some(Pid::from_child(&command.spawn()?)));
    }
    // The shim is the leader of the session, as the shell is in other terminals.
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(stdin())?;
    let program = Pid::from_child(&command.spawn()?);
    rustix::termios::tcsetpgrp(stdin(), program)?;
    // It may have used the terminal before it was in the foreground, which stops a process.
    _ = rustix::process::kill_process_group(program, Signal::CONT);
    Ok(Some(program))
}
