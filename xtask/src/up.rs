//! `cargo xtask up`: from a fresh clone to a running stack in one command.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::{Step, run_all};

/// Builds for release, then becomes `portolan up`: Ctrl-C and the exit status are its own.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let packages = ["-p", "portolan-cli", "-p", "portolan-example-quickstart"];
    let build = [&["build", "--release", "--locked", "--bins"], packages.as_slice()].concat();
    run_all(vec![Step::cargo("build", &build)])?;
    let portolan = target_directory()?.join("release/portolan");
    let error = Command::new(&portolan).arg("up").args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", portolan.display()))
}

/// Where cargo puts what it builds: this program lies in its `debug` folder, whatever
/// `CARGO_TARGET_DIR` or a configuration file say.
fn target_directory() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot tell where this program lies")?;
    let directory = exe.parent().and_then(|debug| debug.parent());
    directory.map(PathBuf::from).context("this program lies outside of a target directory")
}
