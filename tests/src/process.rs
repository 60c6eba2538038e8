//! One program in the background: its output kept, its end made sure of.

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

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Its exit status; none where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

// === impl Process ===

impl Process {
    /// Starts the command with nothing to read and its output in two files of `logs`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn spawn(name: &str, logs: &Path, command: &mut Command) -> Result<Self> {
        let stdout = logs.join(format!("{name}.out"));
        let stderr = logs.join(format!("{name}.err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create_new(&stdout).context("two processes of one name")?)
            .stderr(File::create_new(&stderr)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// How it ended; none while it runs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks until there is an answer, and no longer than the process lives.
    ///
    /// # Errors
    /// It ended before, or there was no answer in time; the error shows what it wrote.
    pub fn wait_until<T>(&mut self, what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
        let (mut ended, child) = (None, &mut self.child);
        let answer = wait_for(what, || {
            // In this order: what it did before it ended still counts.
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

    /// Waits for a line with this text in it, on either output, and returns the line.
    ///
    /// # Errors
    /// The process ended without it, or it did not come in time.
    pub fn wait_for_line(&mut self, text: &str) -> Result<String> {
        let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
        self.wait_until(&format!("a line with {text:?}"), || {
            let said = read(&stdout) + &read(&stderr);
            let line = said.lines().find(|line| line.contains(text)).map(str::to_owned);
            line.context("no such line yet")
        })
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    /// It ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Sends a signal to its whole group, as a terminal does with Ctrl-C.
    ///
    /// # Errors
    /// The whole group ended already.
    pub fn signal_group(&self, signal: Signal) -> Result<()> {
        Ok(kill_process_group(self.pid(), signal)?)
    }

    /// `kill -9` of this process, and of no child of it.
    ///
    /// # Errors
    /// It ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs at the end of the limit.
    pub fn wait(&mut self, limit: Duration) -> Result<Output> {
        let (name, child) = (&self.name, &mut self.child);
        let status = wait_within(limit, &format!("the end of {name}"), || {
            child.try_wait()?.context("it still runs")
        });
        let status = status.with_context(|| format!("it wrote:\n{}", self.output()))?;
        Ok(Output { code: status.code(), stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Asks it to end, with SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn terminate(&mut self) -> Result<Output> {
        self.signal(Signal::TERM)?;
        self.wait(TIMEOUT)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it wrote so far: standard output, then standard error.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A leader that was waited for has given its id back; its group goes by the same id only
        // while a member lives, and is then still ours.
        if self.signal_group(Signal::TERM).is_err() {
            return;
        }
        let (group, child) = (self.pid(), &mut self.child);
        let gone = wait_within(GRACE, "the end of the group", || {
            child.try_wait()?;
            ensure!(rustix::process::test_kill_process_group(group).is_err(), "it lives");
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
    /// The output itself, where the exit status is the expected one.
    ///
    /// # Errors
    /// It is another one; shows what the program said.
    pub fn exits(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "expected exit status {code}, got {self:#?}");
        Ok(self)
    }

    /// Standard output without the line end, where the program succeeded.
    ///
    /// # Errors
    /// It failed; shows what it said.
    pub fn text(self) -> Result<String> {
        Ok(self.exits(0)?.stdout.trim_end().to_owned())
    }

    /// Standard output as JSON, where the program succeeded.
    ///
    /// # Errors
    /// It failed or said something else; shows what it said.
    pub fn json(self) -> Result<Value> {
        let text = self.text()?;
        serde_json::from_str(&text).with_context(|| format!("this is no JSON: {text}"))
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
