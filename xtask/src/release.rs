//! Builds programs for release and becomes one of them.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::{Step, run_all};

/// Builds the programs of these packages, then becomes one: Ctrl-C and the exit status are its own.
pub(crate) fn become_program(
    name: &str,
    packages: &[&str],
    before: &[&str],
    arguments: &[String],
) -> Result<()> {
    let packages: Vec<&str> = packages.iter().flat_map(|package| ["-p", package]).collect();
    let build = [&["build", "--release", "--locked", "--bins"], packages.as_slice()].concat();
    run_all(vec![Step::cargo("build", &build)])?;
    let program = target_directory()?.join("release").join(name);
    let error = Command::new(&program).args(before).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

/// Where cargo puts what it builds: this program lies in its `debug` folder, whatever
/// `CARGO_TARGET_DIR` or a configuration file say.
fn target_directory() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot tell where this program lies")?;
    let directory = exe.parent().and_then(|debug| debug.parent());
    directory.map(PathBuf::from).context("this program lies outside of a target directory")
}
