//! A terminal (pty(7)) with a program, driven as a person does: by typing and by reading what is shown.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::env::TestEnv;
use crate::process::{Output, Process};
use crate::wait::{TIMEOUT, wait_for};

/// A terminal whose session has the program as its leader.
#[derive(Debug)]
pub struct Terminal {
    screen: File,
    process: Process,
    shown: String,
    /// Where the text begins that was not waited for yet.
    next: usize,
}

// === impl Terminal ===

impl Terminal {
    /// Starts the program on a terminal with this number of columns.
    ///
    /// # Errors
    /// The terminal cannot be created, or the program cannot be started.
    pub fn start(env: &TestEnv, columns: u16, program: &[&str]) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags)?;
        grantpt(&screen)?;
        unlockpt(&screen)?;
        rustix::io::ioctl_fionbio(&screen, true)?;
        set_size(&screen, columns)?;
        let name = ptsname(&screen, Vec::new())?;
        let mut command = Command::new("sh");
        let script = r#"name=$1; shift; exec setsid --ctty --wait "$@" <"$name" >"$name" 2>&1"#;
        command.args(["-c", script, "sh", name.to_str()?]).args(program);
        command.current_dir(env.directory()).env("TERM", "xterm").env("PS1", "shell> ");
        let process = env.spawn("terminal", command)?;
        Ok(Self { screen: screen.into(), process, shown: String::new(), next: 0 })
    }

    /// Starts an interactive shell, whose prompt is `shell> `.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn shell(env: &TestEnv) -> Result<Self> {
        let mut terminal = Self::start(env, 100, &["bash", "--norc", "--noprofile", "-i"])?;
        terminal.wait_for("shell> ")?;
        Ok(terminal)
    }

    /// Types a text: `\r` is the Enter key, `\x03` is Ctrl-C.
    ///
    /// # Errors
    /// The terminal does not take it.
    pub fn enter(&mut self, text: &str) -> Result<()> {
        Ok(self.screen.write_all(text.as_bytes())?)
    }

    /// Waits until the text is shown after what was waited for before.
    ///
    /// # Errors
    /// It is not shown in time.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        wait_for(&format!("{text:?} on the terminal"), || {
            self.read()?;
            let unseen = &self.shown[self.next..];
            let at = unseen.find(text).with_context(|| format!("it shows {unseen:?}"))?;
            self.next += at + text.len();
            Ok(())
        })
    }

    /// Changes the number of columns.
    ///
    /// # Errors
    /// The system call fails.
    pub fn resize(&self, columns: u16) -> Result<()> {
        set_size(&self.screen, columns)
    }

    /// Reads what is shown, and returns the number of bytes so far.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub fn shown(&mut self) -> Result<usize> {
        self.read()?;
        Ok(self.shown.len())
    }

    /// Waits for the end of the program, and reads what it still shows.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn ends(&mut self) -> Result<Output> {
        wait_for("the end of the program on the terminal", || {
            self.read()?;
            ensure!(self.process.ended()?.is_some(), "it shows {:?}", &self.shown[self.next..]);
            Ok(())
        })?;
        self.process.wait(TIMEOUT)
    }

    fn read(&mut self) -> Result<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.screen.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => self.shown += &String::from_utf8_lossy(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Nobody has the other end.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn set_size(terminal: impl std::os::fd::AsFd, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}
