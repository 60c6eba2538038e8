//! `portolan completions`: a completion script for a shell.

use clap::{Args, Command};
use clap_complete::Shell;
use serde_json::json;

use crate::exit::{CommandResult, Exit};
use crate::global::Global;
use crate::output;

/// Options of `portolan completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell that reads the script
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, global: &Global, mut command: Command) -> CommandResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "portolan", &mut script);
        let script = String::from_utf8_lossy(&script);
        if global.json {
            output::json(&json!({ "shell": self.shell.to_string(), "script": script }))?;
        } else {
            output::line(script.trim_end())?;
        }
        Ok(Exit::Done)
    }
}
