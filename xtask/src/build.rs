//! Builds programs and replaces this process by one of them.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::{Step, run_all};

/// What to build, and which of the programs to run.
pub(crate) struct Build<'a> {
    /// The Cargo profile, which is also the name of its folder in the target directory.
    pub(crate) profile: &'a str,
    /// The packages whose programs are built.
    pub(crate) packages: &'a [&'a str],
    /// The features to build them with.
    pub(crate) features: &'a [&'a str],
    /// The program to run.
    pub(crate) program: &'a str,
}

// === impl Build ===

impl Build<'_> {
    /// Builds, then replaces this process by the program, so that signals and the exit status are
    /// the program's own. Returns only on failure.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Result<()> {
        let mut build = vec!["build", "--profile", self.profile, "--locked", "--bins"];
        build.extend(self.packages.iter().flat_map(|package| ["-p", package]));
        build.extend(self.features.iter().flat_map(|feature| ["--features", feature]));
        run_all(vec![Step::cargo("build", &build)])?;
        let program = target_directory()?.join(self.profile).join(self.program);
        let error = Command::new(&program).args(arguments).exec();
        Err(error).with_context(|| format!("cannot start {}", program.display()))
    }
}

/// Returns Cargo's target directory: this program is in its `debug` folder, whatever
/// `CARGO_TARGET_DIR` or a configuration file says.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot find the path of this program")?;
    let directory = exe.parent().and_then(|debug| debug.parent());
    directory.map(PathBuf::from).context("this program is not in a target directory")
}
