//! An apt with a directory of its own, for packages of another release of Debian: those of this machine do not change. The mirror
//! and its key are those that the machine is configured with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What the machine's apt is configured with, in this order.
const SOURCES: [&str; 2] = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];

/// An apt with a directory of its own.
pub(crate) struct Apt {
    directory: PathBuf,
    suite: &'static str,
}

// === impl Apt ===

impl Apt {
    /// Uses this directory, which it empties, and this release of Debian.
    pub(crate) fn new(directory: PathBuf, suite: &'static str) -> Self {
        Self { directory, suite }
    }

    /// Runs a command of apt-get that downloads files, and returns the directory in which it left them.
    pub(crate) fn download(&self, command: &[&str]) -> Result<PathBuf> {
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory).context("cannot remove an earlier attempt")?;
        }
        for directory in ["lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(self.directory.join(directory))?;
        }
        fs::write(self.directory.join("suite.sources"), sources(&mirror()?, self.suite))?;
        self.apt_get(&["update"])?;
        self.apt_get(command)?;
        Ok(self.directory.join("packages"))
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
        let status = status.context("cannot start apt-get, which only Debian has")?;
        if !status.success() {
            bail!("`apt-get {}` for Debian {} failed ({status})", arguments.join(" "), self.suite);
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

fn sources(mirror: &str, suite: &str) -> String {
    format!(
        "Types: deb deb-src\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
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
