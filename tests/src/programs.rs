//! Finds the programs that are not Portolan's own.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where the program lies.
///
/// # Errors
/// It lies nowhere; says which command installs it.
pub(crate) fn find(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    first_with(name, own).with_context(|| missing(name, package))
}

/// Where the system's own program lies: earlier on the `PATH` may be one of the same name that finds
/// none of the system's modules, or a shim that needs the user's home.
///
/// # Errors
/// It lies nowhere; says which command installs it.
pub(crate) fn find_system(name: &str, package: &str) -> Result<PathBuf> {
    let systems = ["/usr/bin", "/usr/sbin"].map(PathBuf::from).into_iter();
    first_with(name, systems).map_or_else(|| find(name, package), Ok)
}

/// Where one of PostgreSQL's own programs lies; Debian keeps them off the `PATH`, in a folder for
/// each version. The newest version wins.
///
/// # Errors
/// It lies nowhere; says which command installs it.
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
