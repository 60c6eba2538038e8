//! The calls of `portolan` that many tests make.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::http;
use crate::process::{Output, Process};
use crate::wait::wait_within;
use crate::world::{REGISTRY, World};

/// Options of `portolan discover` for a service that is gone: nobody answers by broadcast, and that
/// need not be waited for as long as where somebody might.
pub const BRIEFLY: [&str; 2] = ["--set", "discovery.timeouts.broadcast_wait=300ms"];

// === impl World ===

impl World {
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
    pub fn registered_are(&self, name: &str, count: usize, limit: Duration) -> Result<Vec<Value>> {
        wait_within(limit, &format!("{count} of {name} to be registered"), || {
            let found = self.registered(name)?;
            ensure!(found.len() == count, "the registry knows {found:?}");
            Ok(found)
        })
    }
}
