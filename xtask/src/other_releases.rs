//! Programs that only another release of Debian has: their packages are unpacked below the target directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::tools;

/// A program of another release.
struct Program {
    /// The name of the installed file.
    name: &'static str,
    /// The directory among the tools.
    directory: &'static str,
    suite: &'static str,
    package: &'static str,
    /// The file in the package.
    file: &'static str,
}

const PROGRAMS: [Program; 2] = [
    // The last release with a package of Consul, version 1.8.
    Program {
        name: "consul",
        directory: "consul",
        suite: "bullseye",
        package: "consul",
        file: "usr/bin/consul",
    },
    // Bookworm has version 1 only.
    Program {
        name: "docker-compose-v2",
        directory: "compose",
        suite: "trixie",
        package: "docker-compose",
        file: "usr/libexec/docker/cli-plugins/docker-compose",
    },
];

/// Installs those that are missing below the target directory.
pub(crate) fn install_missing() -> Result<()> {
    PROGRAMS.iter().try_for_each(install)
}

fn install(program: &Program) -> Result<()> {
    let Program { name, suite, package, .. } = program;
    let tools = tools::directory()?;
    let place = tools.join(program.directory);
    if tools::is_installed(name)? || place.join(name).is_file() {
        println!("=== {name}: it is installed");
        return Ok(());
    }
    let directory = tools.join("apt");
    println!("=== {name}: the package of Debian {suite}, unpacked in {}", place.display());
    let packages = Apt::new(directory.clone(), suite).download(&["download", package])?;
    unpack(&packages, &directory.join("unpacked"))?;
    let file = directory.join("unpacked").join(program.file);
    fs::create_dir_all(&place)?;
    fs::rename(&file, place.join(name))
        .with_context(|| format!("the package has no {}", file.display()))?;
    fs::remove_dir_all(&directory).context("cannot remove what apt has downloaded")
}

fn unpack(packages: &Path, directory: &Path) -> Result<()> {
    let downloaded = fs::read_dir(packages)?.flatten().map(|entry| entry.path()).next();
    let downloaded = downloaded.context("apt-get has left no package")?;
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("-x").arg(&downloaded).arg(directory);
    let status = dpkg.status().context("cannot start dpkg-deb")?;
    if !status.success() {
        bail!("cannot unpack {} ({status})", downloaded.display());
    }
    Ok(())
}
