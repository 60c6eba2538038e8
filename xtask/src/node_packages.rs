//! Programs of the tests that only the package index of Node has.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools;

/// A package, its version, and a file that shows that it is installed.
type Package = (&'static str, &'static str);

const PACKAGES: [Package; 2] = [
    // A development server that does not read PORT.
    ("vite@7.1.12", "node_modules/.bin/vite"),
    // The PostgreSQL client of the example with worktrees.
    ("pg@8.16.3", "node_modules/pg/package.json"),
];

/// Installs the missing programs below the target directory.
pub(crate) fn install_missing() -> Result<()> {
    let directory = tools::directory()?.join("vite");
    let missing = PACKAGES.iter().filter(|(_, file)| !directory.join(file).is_file());
    let missing: Vec<&str> = missing.map(|(package, _)| *package).collect();
    if missing.is_empty() {
        println!("=== packages of Node: they are installed");
        return Ok(());
    }
    let packages = missing.join(" ");
    println!("=== npm install --prefix {} {packages}", directory.display());
    std::fs::create_dir_all(&directory)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&directory);
    let status = npm.args(&missing).current_dir(&directory).status().context("cannot start npm")?;
    ensure!(status.success(), "cannot install {packages} ({status})");
    Ok(())
}
