//! Consul, which only an older release of Debian has: its package is unpacked below the target directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::tools;

/// The last release of Debian with a package of Consul, version 1.8.
const SUITE: &str = "bullseye";

/// Installs Consul below the target directory if it is missing.
pub(crate) fn install_missing() -> Result<()> {
    if tools::is_installed("consul")? {
        println!("=== consul: it is installed");
        return Ok(());
    }
    let tools = tools::directory()?;
    let directory = tools.join("apt");
    println!("=== consul: the package of Debian {SUITE}, unpacked in {}", tools.display());
    let packages = Apt::new(directory.clone(), SUITE).download(&["download", "consul"])?;
    unpack(&packages, &directory.join("unpacked"))?;
    let program = directory.join("unpacked/usr/bin/consul");
    fs::create_dir_all(tools.join("consul"))?;
    fs::rename(&program, tools.join("consul/consul"))
        .with_context(|| format!("the package has no {}", program.display()))?;
    fs::remove_dir_all(&directory).context("cannot remove what apt has downloaded")
}

fn unpack(packages: &Path, directory: &Path) -> Result<()> {
    let downloaded = fs::read_dir(packages)?.flatten().map(|entry| entry.path()).next();
    let downloaded = downloaded.context("apt-get left no package consul")?;
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("-x").arg(&downloaded).arg(directory);
    let status = dpkg.status().context("cannot start dpkg-deb")?;
    if !status.success() {
        bail!("cannot unpack {} ({status})", downloaded.display());
    }
    Ok(())
}
