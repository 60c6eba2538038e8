//! Builds and runs `portolan` commands.

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

/// Options of `portolan discover` for a service that is known to be gone: a short wait for
/// broadcast responses.
pub const SHORT_BROADCAST_WAIT: [&str; 2] = ["--set", "discovery.timeouts.broadcast_wait=300ms"];

/// A builder for one invocation of `portolan`.
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

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, variable: &str, value: &str) -> Self {
        self.command.env(variable, value);
        self
    }

    /// Sets the working directory; the default is the test's directory.
    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Adds the name, the options and the program of a service to `portolan run`.
    pub(crate) fn with_program<S: AsRef<OsStr>>(
        self,
        name: &str,
        options: &[&str],
        program: &[S],
    ) -> Self {
        self.args(&["--name", name]).args(options).args(&["--"]).args(program)
    }

    /// Prefixes the command with a program that starts it.
    pub(crate) fn wrapped_by(self, mut starter: Command) -> Self {
        starter.arg(self.command.get_program()).args(self.command.get_args());
        if let Some(directory) = self.command.get_current_dir() {
            starter.current_dir(directory);
        }
        Self { command: starter, ..self }
    }

    /// Starts the command in the background; `name` is the name of its log files.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn spawn(self, name: &str) -> Result<Process> {
        self.env.spawn(name, self.command)
    }

    /// Runs the command to completion.
    ///
    /// # Errors
    /// The command cannot be started, or does not end in time.
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
    /// The command cannot be started.
    pub fn service<S: AsRef<OsStr>>(
        &self,
        name: &str,
        options: &[&str],
        command: &[S],
    ) -> Result<Process> {
        self.portolan(&["run"])?.with_program(name, options, command).spawn(name)
    }

    /// Runs `portolan discover NAME OPTIONS` to completion.
    ///
    /// # Errors
    /// The command cannot be started, or does not end in time.
    pub fn discover(&self, name: &str, options: &[&str]) -> Result<Output> {
        self.portolan(&["discover", name])?.args(options).run()
    }

    /// Returns the registry's instances of a service, in all scopes.
    ///
    /// # Errors
    /// The registry does not respond.
    pub fn registered(&self, name: &str) -> Result<Vec<Value>> {
        let answer = http::get_json(&format!("{REGISTRY}/api/v1/services?name={name}"))?;
        Ok(answer["services"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until the registry has `count` instances of a service.
    ///
    /// # Errors
    /// The count differs until the limit has passed.
    pub fn wait_registered(&self, name: &str, count: usize, limit: Duration) -> Result<Vec<Value>> {
        wait_within(limit, &format!("{count} of {name} to be registered"), || {
            let found = self.registered(name)?;
            ensure!(found.len() == count, "the registry knows {found:?}");
            Ok(found)
        })
    }
}
