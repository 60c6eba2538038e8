//! A background process whose output is recorded and whose process group is always ended.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::wait::{TIMEOUT, wait_for, wait_within};

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(8);

/// A running program, in a process group of its own. Dropping it ends the whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// The output and exit status of a program.
#[derive(Debug)]
pub struct Output {
    /// The exit status; `None` if a signal ended the program.
    pub code: Option<i32>,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

// === impl Process ===

impl Process {
    /// Starts the command with an empty standard input and its output in two files of `logs`.
    ///
    /// # Errors
    /// The command cannot be started.
    pub(crate) fn spawn(name: &str, logs: &Path, command: &mut Command) -> Result<Self> {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create_new(&stdout).context("two processes with the same name")?)
            .stderr(File::create_new(&stderr)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Returns the standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Returns the exit status; `None` while the process runs.
    ///
    /// # Errors
    /// The system call fails.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Polls until the condition succeeds; fails as soon as the process has ended.
    ///
    /// # Errors
    /// The process ended first, or the timeout passed; the error contains the process's output.
    pub fn wait_until<T>(&mut self, what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
        let (mut ended, child) = (None, &mut self.child);
        let answer = wait_for(what, || {
            // In this order: an effect from before the exit still satisfies the condition.
            let over = child.try_wait()?;
            match (ask(), over) {
                (Ok(answer), _) => Ok(Some(answer)),
                (Err(_), Some(status)) => {
                    ended = Some(status);
                    Ok(None)
                }
                (Err(error), None) => Err(error),
            }
        });
        let name = &self.name;
        match answer.with_context(|| format!("{name} wrote:\n{}", self.output()))? {
            Some(answer) => Ok(answer),
            None => bail!("{name} ended ({ended:?}) before {what}; it wrote:\n{}", self.output()),
        }
    }

    /// Waits for a line that contains the text, on either output, and returns the line.
    ///
    /// # Errors
    /// The process ended without writing it, or the timeout passed.
    pub fn wait_for_line(&mut self, text: &str) -> Result<String> {
        let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
        self.wait_until(&format!("a line with {text:?}"), || {
            let output = read(&stdout) + &read(&stderr);
            let line = output.lines().find(|line| line.contains(text)).map(str::to_owned);
            line.context("no such line yet")
        })
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Sends a signal to its whole group, as a terminal does with Ctrl-C.
    ///
    /// # Errors
    /// The whole group has ended.
    pub fn signal_group(&self, signal: Signal) -> Result<()> {
        Ok(kill_process_group(self.pid(), signal)?)
    }

    /// Sends SIGKILL to this process but not to its children, and waits for its end.
    ///
    /// # Errors
    /// The process has ended.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for the process to end.
    ///
    /// # Errors
    /// The process still runs when the limit has passed.
    pub fn wait(&mut self, limit: Duration) -> Result<Output> {
        let (name, child) = (&self.name, &mut self.child);
        let status = wait_within(limit, &format!("the end of {name}"), || {
            child.try_wait()?.context("still running")
        });
        let status = status.with_context(|| format!("it wrote:\n{}", self.output()))?;
        Ok(Output { code: status.code(), stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Sends SIGTERM and waits for the process to end.
    ///
    /// # Errors
    /// The process does not end in time.
    pub fn terminate(&mut self) -> Result<Output> {
        self.signal(Signal::TERM)?;
        self.wait(TIMEOUT)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns the output so far: standard output, then standard error.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A leader that was waited for has released its id; the id still names the group while a
        // member lives.
        if self.signal_group(Signal::TERM).is_err() {
            return;
        }
        let (group, child) = (self.pid(), &mut self.child);
        let gone = wait_within(GRACE, "the end of the group", || {
            child.try_wait()?;
            ensure!(rustix::process::test_kill_process_group(group).is_err(), "still running");
            Ok(())
        });
        if gone.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

// === impl Output ===

impl Output {
    /// Returns the output if the exit status is the expected one.
    ///
    /// # Errors
    /// The exit status differs; the error contains the output.
    pub fn exits(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "expected exit status {code}, got {self:#?}");
        Ok(self)
    }

    /// Returns the standard output without the final line end if the program succeeded.
    ///
    /// # Errors
    /// The program failed; the error contains the output.
    pub fn text(self) -> Result<String> {
        Ok(self.exits(0)?.stdout.trim_end().to_owned())
    }

    /// Returns the standard output as JSON if the program succeeded.
    ///
    /// # Errors
    /// The program failed or wrote something else; the error contains the output.
    pub fn json(self) -> Result<Value> {
        let text = self.text()?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
