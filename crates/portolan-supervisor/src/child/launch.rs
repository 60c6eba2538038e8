//! How a program is started.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use portolan_client::environment::is_secret;
use rustix::process::Pid;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::exit_watch::ExitWatch;
use super::pty::{Pty, WindowSize};
use super::shim_link::ShimLink;
use super::{Child, InheritedFds, ProcessTree};
use crate::leftovers::{Marker, VARIABLE};
use crate::shim::ShimCommand;
use crate::{Account, CommandLine};

/// How to start a program.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program and its arguments.
    pub command: CommandLine,
    /// Variables added to the inherited environment.
    pub environment: BTreeMap<String, String>,
    /// The user and the group; `None` are those of this process.
    pub account: Option<Account>,
    /// The working directory; `None` is that of this process.
    pub directory: Option<PathBuf>,
    /// How the program is connected to the terminal.
    pub terminal: Terminal,
    /// What starts the program and ends whatever it leaves behind; `None` starts the program itself.
    pub shim: Option<ShimCommand>,
    /// What the program has in its environment, by which it is found if this process or its shim is killed.
    pub marker: Option<Marker>,
}

/// How a program is connected to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// It inherits stdin, stdout, stderr and the process group, so it receives the terminal's
    /// Ctrl-C itself and may be interactive.
    Shared,
    /// It inherits stdin, stdout and stderr, and has its own process group, which is signalled as a
    /// whole.
    OwnGroup,
    /// It has pipes as stdin, stdout and stderr, and its own process group. Nothing is ever written to its stdin, which stays open
    /// unless `closed_stdin`.
    Captured {
        /// Whether a read from stdin returns its end at once.
        closed_stdin: bool,
    },
    /// It has a pseudo-terminal of its own, and a shim, which makes it the controlling one.
    Own(WindowSize),
}

// === impl Launch ===

impl Launch {
    /// Starts the program. It inherits the file descriptors in `inherited`.
    pub async fn start(&self, inherited: &InheritedFds<'_>) -> io::Result<Child> {
        let (link, ends) = self.shim.as_ref().map(|_| ShimLink::new()).transpose()?.unzip();
        let mut prepared = inherited.prepare(self, self.shim.as_ref().zip(ends.as_ref()))?;
        let pty = self.configure(&mut prepared.command)?;
        let mut process = prepared.command.spawn()?;
        // The shim has them now. An end that is left open here would hide that it has ended.
        drop((prepared, ends));
        let stdin = process.stdin.take();
        let root = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (pid, link, exit) = match link {
            Some(mut link) => (Some(link.started().await?), Some(link), None),
            None => (root, None, root.and_then(ExitWatch::open)),
        };
        Ok(Child {
            process,
            pid,
            link,
            exit,
            own_group: self.terminal != Terminal::Shared,
            process_tree: root.map(ProcessTree::new),
            skip_grace: CancellationToken::new(),
            pty,
            _stdin: stdin,
            marker: self.marker.clone(),
        })
    }

    /// Returns the process group in which a shim starts the program; 0 is one of its own.
    pub(super) fn group(&self) -> i32 {
        match self.terminal {
            Terminal::Shared => rustix::process::getpgrp().as_raw_nonzero().get(),
            Terminal::OwnGroup | Terminal::Captured { .. } | Terminal::Own(_) => 0,
        }
    }

    pub(super) fn has_own_terminal(&self) -> bool {
        matches!(self.terminal, Terminal::Own(_))
    }

    /// Returns the terminal of the program if it has one of its own.
    fn configure(&self, command: &mut Command) -> io::Result<Option<Pty>> {
        for (name, _) in std::env::vars_os() {
            // A program gets a secret of Portolan only if its caller passes it on.
            if name.to_str().is_some_and(is_secret) {
                command.env_remove(name);
            }
        }
        command.envs(&self.environment);
        if let Some(marker) = &self.marker {
            command.env(VARIABLE, marker.as_str());
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        // A shim that is to lead a session must not lead a group.
        let leads_group = self.terminal != Terminal::Shared || self.shim.is_some();
        if leads_group && !self.has_own_terminal() {
            command.process_group(0);
        }
        // A shim remains that of this user, and changes them itself.
        if let Some(Account { user, group, .. }) =
            self.account.as_ref().filter(|_| self.shim.is_none())
        {
            group.map(|group| command.gid(group));
            user.map(|user| command.uid(user));
        }
        match self.terminal {
            Terminal::Shared | Terminal::OwnGroup => Ok(None),
            Terminal::Captured { closed_stdin } => {
                let stdin = if closed_stdin { Stdio::null() } else { Stdio::piped() };
                command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
                Ok(None)
            }
            Terminal::Own(size) => self.attach_terminal(command, size).map(Some),
        }
    }

    fn attach_terminal(&self, command: &mut Command, size: WindowSize) -> io::Result<Pty> {
        if self.shim.is_none() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a terminal needs a shim"));
        }
        let user = self.account.as_ref().and_then(|account| account.user);
        let (pty, other_end) = Pty::open(size, user)?;
        command.stdin(other_end.try_clone()?).stdout(other_end.try_clone()?).stderr(other_end);
        Ok(pty)
    }
}
