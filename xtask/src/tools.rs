//! The programs that are installed below the target directory, because the system's packages lack them.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::build::target_directory;

/// The directory of the tools.
pub(crate) fn directory() -> Result<PathBuf> {
    Ok(target_directory()?.join("tools"))
}

/// Returns the `PATH` with the directories of the tools' programs at its end: `bin`, which pip creates, and that of
/// Consul, because pip leaves alone what exists.
pub(crate) fn search_path() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = directory()?;
    let directories =
        std::env::split_paths(&path).chain(["bin", "consul"].map(|it| tools.join(it)));
    std::env::join_paths(directories).context("the target directory has a `:` in its path")
}

/// Whether a program is in the `PATH` or among the tools.
pub(crate) fn is_installed(program: &str) -> Result<bool> {
    let path = search_path()?;
    Ok(std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}
