//! Calls of `portolan`: how one is put together, and those that many tests make.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::env::{REGISTRY, TestEnv};
use crate::http;
use crate::process::{Output, Process};
use crate::wait::{TIMEOUT, wait_within};

/// Options of `portolan discover` for a service that is gone: nobody answers by broadcast, and that
/// need not be waited for as long as where somebody might.
pub const SHORT_BROADCAST_WAIT: [&str; 2] = ["--set", "discovery.timeouts.broadcast_wait=300ms"];

/// A call of the `portolan` command that is being put together.
#[derive(Debug)]
pub struct PortolanCommand<'a> {
    env: &'a TestEnv,
    command: Command,
}

// === impl PortolanCommand ===

impl<'a> PortolanCommand<'a> {
    pub(crate) fn new(env: &'a TestEnv, command: Command) -> Self {
        Self { env, command }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: &[S]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Runs it in another folder than the test's.
    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Has another program start it, with its own words after that program's.
    pub(crate) fn wrapped_by(self, mut starter: Command) -> Self {
        starter.arg(self.command.get_program()).args(self.command.get_args());
        if let Some(directory) = self.command.get_current_dir() {
            starter.current_dir(directory);
        }
        Self { command: starter, ..self }
    }

    /// Starts it in the background; `name` is what its logs go by.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(self, name: &str) -> Result<Process> {
        self.env.spawn(name, self.command)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub fn run(self) -> Result<Output> {
        let subcommand = self.command.get_args().next().and_then(OsStr::to_str);
        let name = subcommand.unwrap_or("portolan").to_owned();
        self.spawn(&name)?.wait(TIMEOUT)
    }
}

// === impl TestEnv ===

impl TestEnv {
    /// Starts `portolan run --name NAME OPTIONS -- COMMAND`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn service<S: AsRef<OsStr>>(
        &self,
        name: &str,
        options: &[&str],
        command: &[S],
    ) -> Result<Process> {
        let call = self.portolan(&["run", "--name", name])?.args(options).args(&["--"]);
        call.args(command).spawn(name)
    }

    /// Runs `portolan discover NAME OPTIONS` to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub fn discover(&self, name: &str, options: &[&str]) -> Result<Output> {
        self.portolan(&["discover", name])?.args(options).run()
    }

    /// What the registry says of the instances of a name, in every scope.
    ///
    /// # Errors
    /// It does not answer.
    pub fn registered(&self, name: &str) -> Result<Vec<Value>> {
        let answer = http::get_json(&format!("{REGISTRY}/api/v1/services?name={name}"))?;
        Ok(answer["services"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until the registry knows that many instances of a name.
    ///
    /// # Errors
    /// It does not within the limit.
    pub fn wait_registered(&self, name: &str, count: usize, limit: Duration) -> Result<Vec<Value>> {
        wait_within(limit, &format!("{count} of {name} to be registered"), || {
            let found = self.registered(name)?;
            ensure!(found.len() == count, "the registry knows {found:?}");
            Ok(found)
        })
    }
}
