//! Schemathesis, which sends requests that an OpenAPI document permits, and ones that it does not.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools;

const PACKAGE: &str = "schemathesis==4.32.5";

/// Installs Schemathesis below the target directory if it is missing, with pip and in a directory of its own.
pub(crate) fn install_missing() -> Result<()> {
    let directory = tools::directory()?.join("schemathesis");
    if directory.join("bin/schemathesis").is_file() {
        println!("=== schemathesis: it is installed");
        return Ok(());
    }
    println!("=== schemathesis: pip3 install --target {} {PACKAGE}", directory.display());
    let mut pip = Command::new("pip3");
    pip.args(["install", "-qq", "--only-binary", ":all:", "--target"]).arg(&directory).arg(PACKAGE);
    let status = pip.status().context("cannot start pip3")?;
    ensure!(status.success(), "cannot install {PACKAGE} ({status})");
    Ok(())
}
