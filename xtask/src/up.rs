//! `cargo xtask up`: from a fresh clone to a running stack in one command.

use anyhow::Result;

use crate::build::Build;

/// Builds with the profile that compiles fast, then replaces this process by `portolan up`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let build = Build {
        profile: "quickstart",
        packages: &["portolan-cli", "portolan-example-quickstart"],
        features: &[],
        program: "portolan",
    };
    let arguments = ["up"].into_iter().chain(arguments.iter().map(String::as_str));
    build.exec(&arguments.collect::<Vec<_>>())
}
