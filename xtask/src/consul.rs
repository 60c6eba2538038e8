//! Consul, which only an older release of Debian has: its package is unpacked below the target directory.
//!
//! apt gets a directory of its own, so that the packages of this machine do not change. The mirror and its key are
//! those that the machine is configured with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools;

/// The last release of Debian with a package of Consul, version 1.8.
const SUITE: &str = "bullseye";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What the machine's apt is configured with, in this order.
const SOURCES: [&str; 2] = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];

/// Installs Consul below the target directory if it is missing.
pub(crate) fn install_missing() -> Result<()> {
    if tools::is_installed("consul")? {
        println!("=== consul: it is installed");
        return Ok(());
    }
    let tools = tools::directory()?;
    let apt = Apt { directory: tools.join("apt") };
    println!("=== consul: the package of Debian {SUITE}, unpacked in {}", tools.display());
    apt.download("consul")?;
    apt.unpack("consul")?;
    let program = apt.directory.join("unpacked/usr/bin/consul");
    fs::create_dir_all(tools.join("consul"))?;
    fs::rename(&program, tools.join("consul/consul"))
        .with_context(|| format!("the package has no {}", program.display()))?;
    fs::remove_dir_all(&apt.directory).context("cannot remove what apt has downloaded")
}

/// An apt with a directory of its own.
struct Apt {
    directory: PathBuf,
}

// === impl Apt ===

impl Apt {
    fn download(&self, package: &str) -> Result<()> {
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory).context("cannot remove an earlier attempt")?;
        }
        for directory in ["lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(self.directory.join(directory))?;
        }
        fs::write(self.directory.join("suite.sources"), sources(&mirror()?))?;
        self.apt_get(&["update"])?;
        self.apt_get(&["download", package])
    }

    fn apt_get(&self, arguments: &[&str]) -> Result<()> {
        let own = |name: &str| self.directory.join(name).display().to_string();
        let mut command = Command::new("apt-get");
        command.arg("-q").current_dir(self.directory.join("packages"));
        for option in [
            format!("Dir::Etc::sourcelist={}", own("suite.sources")),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", own("lists")),
            format!("Dir::Cache={}", own("cache")),
            // The user `_apt` cannot write to the target directory.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        let status = command.args(arguments).status();
        let status =
            status.context("cannot start apt-get; install Consul 1.8 or later yourself")?;
        if !status.success() {
            bail!("`apt-get {}` for Debian {SUITE} failed ({status})", arguments.join(" "));
        }
        Ok(())
    }

    fn unpack(&self, package: &str) -> Result<()> {
        let packages = fs::read_dir(self.directory.join("packages"))?;
        let downloaded = packages.flatten().map(|entry| entry.path()).next();
        let downloaded =
            downloaded.with_context(|| format!("apt-get left no package {package}"))?;
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("-x").arg(&downloaded).arg(self.directory.join("unpacked"));
        let status = dpkg.status().context("cannot start dpkg-deb")?;
        if !status.success() {
            bail!("cannot unpack {} ({status})", downloaded.display());
        }
        Ok(())
    }
}

/// The URI of Debian's mirror that this machine uses.
fn mirror() -> Result<String> {
    let read = |path: &&str| fs::read_to_string(Path::new(path)).ok();
    let found = SOURCES.iter().filter_map(read).find_map(|text| mirror_in(&text));
    found.with_context(|| format!("no mirror of Debian in {}", SOURCES.join(" or ")))
}

/// The first URI of a list of sources, in either format. A mirror of security updates only is left out.
fn mirror_in(sources: &str) -> Option<String> {
    let lines = sources.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut words = lines
        .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "))
        .flat_map(str::split_whitespace);
    let is_mirror = |word: &&str| {
        word.contains("://") && !word.trim_end_matches('/').ends_with("debian-security")
    };
    words.find(is_mirror).map(str::to_owned)
}

fn sources(mirror: &str) -> String {
    format!("Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\nSigned-By: {KEYRING}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_is_read_from_both_formats() {
        let stanzas = "Types: deb\n# URIs: http://old.test/debian\nURIs: http://mirror.test/debian\n\
                       Suites: stable\n\nURIs: http://mirror.test/debian-security\n";
        assert_eq!(mirror_in(stanzas).unwrap(), "http://mirror.test/debian");
        let lines = "# a comment\ndeb http://mirror.test/debian-security stable/updates main\n\
                     deb [arch=amd64] http://mirror.test/debian/ stable main\n";
        assert_eq!(mirror_in(lines).unwrap(), "http://mirror.test/debian/");
        assert_eq!(mirror_in("deb-src http://mirror.test/debian stable main"), None);
    }
}
