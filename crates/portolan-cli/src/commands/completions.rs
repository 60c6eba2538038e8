//! `portolan completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::{Cli, Global};
use crate::exit::{Ending, Exit};
use crate::output;

/// Options of `portolan completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, global: &Global) -> Ending {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "portolan", &mut script);
        let script = String::from_utf8_lossy(&script);
        match global.json {
            true => output::json(&json!({ "shell": self.shell.to_string(), "script": script }))?,
            false => output::line(script.trim_end())?,
        }
        Ok(Exit::Done)
    }
}
