//! Development servers that do not read PORT, and database libraries, which `cargo xtask programs` installs.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::env::target_directory;

/// Returns the directory of Flask or Django, for `PYTHONPATH`.
///
/// # Errors
/// It is not installed.
pub fn python_path(name: &str) -> Result<String> {
    let directory = installed(name, "bin")?;
    Ok(directory.display().to_string())
}

/// Returns the directory of a Python library, for `PYTHONPATH`.
///
/// # Errors
/// It is not installed.
pub fn python_module(name: &str) -> Result<String> {
    let directory = installed(name, name)?;
    Ok(directory.display().to_string())
}

/// Returns the directory with the packages of Node: vite, with esbuild, and pg.
///
/// # Errors
/// One of them is not installed.
pub fn node_modules() -> Result<PathBuf> {
    installed("vite", "node_modules/pg")?;
    Ok(installed("vite", "node_modules/.bin/vite")?.join("node_modules"))
}

/// Returns a `PATH` that contains the program `vite`.
///
/// # Errors
/// It is not installed.
pub fn path_with_vite() -> Result<String> {
    let programs = installed("vite", "node_modules/.bin/vite")?.join("node_modules/.bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(programs).chain(std::env::split_paths(&path));
    let path: OsString = std::env::join_paths(directories)?;
    path.into_string().ok().context("PATH is no text")
}

fn installed(name: &str, program: &str) -> Result<PathBuf> {
    let directory = target_directory()?.with_file_name("tools").join(name);
    ensure!(
        directory.join(program).exists(),
        "{name} is missing; install it with `cargo xtask programs`"
    );
    Ok(directory)
}
