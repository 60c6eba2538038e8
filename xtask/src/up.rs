//! `cargo xtask up`: from a fresh clone to a running stack in one command.

use anyhow::Result;

use crate::release::become_program;

/// Builds for release, then becomes `portolan up`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let packages = ["portolan-cli", "portolan-example-quickstart"];
    become_program("portolan", &packages, &["up"], arguments)
}
