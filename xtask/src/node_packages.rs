//! Programs of the tests that only the package index of Node has.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools;

/// A development server that does not read PORT.
const VITE: &str = "vite@7.1.12";

/// Installs the missing programs below the target directory.
pub(crate) fn install_missing() -> Result<()> {
    let directory = tools::directory()?.join("vite");
    if directory.join("node_modules/.bin/vite").is_file() {
        println!("=== vite: it is installed");
        return Ok(());
    }
    println!("=== vite: npm install --prefix {} {VITE}", directory.display());
    std::fs::create_dir_all(&directory)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&directory);
    let status = npm.arg(VITE).current_dir(&directory).status().context("cannot start npm")?;
    ensure!(status.success(), "cannot install {VITE} ({status})");
    Ok(())
}
