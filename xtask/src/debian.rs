//! The programs that the tests start, and the Debian packages that have them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program that the tests start.
struct Part {
    /// Its name, as it is found on the `PATH`.
    program: &'static str,
    /// The package that brings it.
    package: &'static str,
}

/// Everything that the tests start and Rust does not bring.
const PARTS: [Part; 15] = [
    Part { program: "initdb", package: "postgresql" },
    Part { program: "psql", package: "postgresql-client" },
    Part { program: "redis-server", package: "redis-server" },
    Part { program: "redis-cli", package: "redis-tools" },
    Part { program: "nginx", package: "nginx" },
    Part { program: "node", package: "nodejs" },
    Part { program: "python3", package: "python3" },
    Part { program: "uvicorn", package: "uvicorn" },
    Part { program: "perl", package: "perl-base" },
    Part { program: "dnsmasq", package: "dnsmasq-base" },
    Part { program: "promtool", package: "prometheus" },
    Part { program: "ip", package: "iproute2" },
    Part { program: "sysctl", package: "procps" },
    Part { program: "curl", package: "curl" },
    Part { program: "unshare", package: "util-linux" },
];

/// Installs the packages of the programs that are not there; does nothing where all are.
pub(crate) fn install_missing() -> Result<()> {
    let packages = missing_packages();
    if packages.is_empty() {
        println!("=== parts: every program that the tests start is installed");
        return Ok(());
    }
    let command = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    println!("=== parts: {command}");
    if !is_root() {
        bail!("the tests need programs that are missing; run once as root: {command}");
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    match missing_packages()[..] {
        [] => Ok(()),
        ref still => bail!("still missing after their installation: {}", still.join(" ")),
    }
}

fn missing_packages() -> Vec<&'static str> {
    let directories = program_directories();
    let is_there = |part: &Part| directories.iter().any(|dir| dir.join(part.program).is_file());
    PARTS.iter().filter(|part| !is_there(part)).map(|part| part.package).collect()
}

/// The `PATH`, the folders of the superuser, and the one where Debian keeps PostgreSQL's server.
fn program_directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.extend(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    directories.extend(versions.map(|version| version.path().join("bin")));
    directories
}

fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|process| process.uid() == 0)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot start apt-get; on another system install the programs by its own means")?;
    match status.success() {
        true => Ok(()),
        false => bail!("`apt-get {}` failed ({status}); its output says why", arguments.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_package_of_its_own() {
        let mut packages: Vec<_> = PARTS.iter().map(|part| part.package).collect();
        packages.sort_unstable();
        packages.dedup();
        assert_eq!(packages.len(), PARTS.len());
    }

    #[test]
    fn the_servers_of_postgresql_are_looked_for_where_debian_keeps_them() {
        let directories = program_directories();
        assert!(directories.contains(&PathBuf::from("/usr/sbin")));
        let there = Path::new("/usr/lib/postgresql").is_dir();
        let looked = directories.iter().any(|path| path.starts_with("/usr/lib/postgresql"));
        assert_eq!(there, looked);
    }
}
