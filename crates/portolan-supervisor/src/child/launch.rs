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
use super::shim_link::ShimLink;
use super::{Child, InheritedFds, ProcessTree};
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
    /// It has no stdin, pipes as stdout and stderr, and its own process group.
    Captured,
}

// === impl Launch ===

impl Launch {
    /// Starts the program. It inherits the file descriptors in `inherited`.
    pub fn start(&self, inherited: &InheritedFds<'_>) -> io::Result<Child> {
        let (link, ends) = self.shim.as_ref().map(|_| ShimLink::new()).transpose()?.unzip();
        let mut prepared = inherited.prepare(self, self.shim.as_ref().zip(ends.as_ref()))?;
        self.configure(&mut prepared.command);
        let process = prepared.command.spawn()?;
        // The shim has them now. An end that is left open here would hide that it has ended.
        drop((prepared, ends));
        let root = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(mut link) = link {
            let pid = Some(link.started()?);
            let (own_group, skip_grace) =
                (self.terminal != Terminal::Shared, CancellationToken::new());
            let process_tree = root.map(ProcessTree::new);
            return Ok(Child {
                process,
                pid,
                link: Some(link),
                exit: None,
                own_group,
                process_tree,
                skip_grace,
            });
        }
        let pid = root;
        let (own_group, skip_grace) = (self.terminal != Terminal::Shared, CancellationToken::new());
        let (exit, process_tree) = (pid.and_then(ExitWatch::open), pid.map(ProcessTree::new));
        Ok(Child { process, pid, link: None, exit, own_group, process_tree, skip_grace })
    }

    /// Returns the process group in which a shim starts the program; 0 is one of its own.
    pub(super) fn group(&self) -> i32 {
        match self.terminal {
            Terminal::Shared => rustix::process::getpgrp().as_raw_nonzero().get(),
            Terminal::OwnGroup | Terminal::Captured => 0,
        }
    }

    fn configure(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            // A program gets a secret of Portolan only if its caller passes it on.
            if name.to_str().is_some_and(is_secret) {
                command.env_remove(name);
            }
        }
        command.envs(&self.environment);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if self.terminal != Terminal::Shared || self.shim.is_some() {
            command.process_group(0);
        }
        // A shim remains that of this user, and changes them itself.
        if let Some(Account { user, group, .. }) =
            self.account.as_ref().filter(|_| self.shim.is_none())
        {
            group.map(|group| command.gid(group));
            user.map(|user| command.uid(user));
        }
        if self.terminal == Terminal::Captured {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
    }
}
