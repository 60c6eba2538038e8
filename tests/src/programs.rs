//! Locates the external programs that the tests run.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Returns the path of a program on the `PATH` or in the superuser's directories.
///
/// # Errors
/// The program is missing; the error names the command that installs it.
pub(crate) fn find(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    first_with(name, own).with_context(|| missing(name, package))
}

/// Returns the path of a program, preferring Debian's own: an earlier one on the `PATH` may be a
/// shim, or lack the system's modules.
///
/// # Errors
/// The program is missing; the error names the command that installs it.
pub(crate) fn find_system(name: &str, package: &str) -> Result<PathBuf> {
    let systems = ["/usr/bin", "/usr/sbin"].map(PathBuf::from).into_iter();
    first_with(name, systems).map_or_else(|| find(name, package), Ok)
}

/// Returns the path of a program on the `PATH`, or where `cargo xtask` installs what no package of Debian has: in this
/// directory below `tools` of the target directory.
///
/// # Errors
/// The program is missing; the error names the command that installs it.
pub(crate) fn find_tool(name: &str, directory: &str, install: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Beside the directory of the profile.
    let tools = crate::env::target_directory()?.with_file_name("tools").join(directory);
    first_with(name, std::env::split_paths(&path).chain([tools]))
        .with_context(|| format!("{name} is missing; install it with `{install}`"))
}

/// Returns the path of a PostgreSQL server program of the newest installed version. Debian keeps
/// them off the `PATH`, in one directory a version.
///
/// # Errors
/// The program is missing; the error names the command that installs it.
pub(crate) fn find_postgres(name: &str) -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort();
    let directories = versions.into_iter().rev().map(|(_, path)| path.join("bin"));
    first_with(name, directories).with_context(|| missing(name, "postgresql"))
}

fn first_with(name: &str, mut directories: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    directories.find_map(|directory| Some(directory.join(name)).filter(|path| path.is_file()))
}

fn missing(name: &str, package: &str) -> String {
    format!(
        "{name} is missing; install it with `apt-get install --no-install-recommends {package}`, \
         or everything that the tests need with `cargo xtask test`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_error_names_the_package() {
        let error = find("no-such-program", "some-package").unwrap_err().to_string();
        assert!(error.contains("--no-install-recommends some-package"), "{error}");
    }
}
