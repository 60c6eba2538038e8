//! Schemathesis, which `cargo xtask programs` installs with its libraries.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::env::target_directory;
use crate::programs;

/// Returns a command of Schemathesis with these arguments.
///
/// # Errors
/// It is not installed.
pub fn command(arguments: &[&str]) -> Result<Command> {
    let directory = target_directory()?.with_file_name("tools").join("schemathesis");
    let program = directory.join("bin/schemathesis");
    ensure!(program.is_file(), "schemathesis is missing; install it with `cargo xtask programs`");
    let mut command = Command::new(programs::find("python3", "python3")?);
    command.arg(program).env("PYTHONPATH", directory).args(arguments);
    Ok(command)
}
