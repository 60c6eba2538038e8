//! Programs of Portolan that are separate from it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Returns the program of this name beside the running one, else the first one on the PATH. Entries of the PATH that are
/// empty or relative do not count: they name the working directory, whose files others may have written.
pub fn companion_program(name: &str) -> Option<PathBuf> {
    let beside = env::current_exe().ok().map(|program| program.with_file_name(name));
    let beside = beside.filter(|program| program.is_file());
    beside.or_else(|| on_path(name, &env::var_os("PATH")?))
}

fn on_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    let directories = env::split_paths(path).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(name)).find(|program| is_executable(program))
}

#[cfg(unix)]
fn is_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    program.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(program: &Path) -> bool {
    program.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn program_of_the_working_directory_is_not_found() {
        // Tests run in the folder of the package, which has this directory.
        let here = env::current_dir().unwrap();
        let directory = tempfile::tempdir_in(&here).unwrap();
        let program = directory.path().join("companion");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let relative = directory.path().strip_prefix(&here).unwrap();
        let joined = |entries: &[&Path]| env::join_paths(entries).unwrap();
        for entries in [&[relative][..], &[Path::new(""), relative], &[Path::new("."), relative]] {
            assert_eq!(on_path("companion", &joined(entries)), None, "{entries:?}");
        }
        let path = joined(&[relative, Path::new("/nonexistent"), directory.path()]);
        assert_eq!(on_path("companion", &path), Some(program.clone()));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(on_path("companion", &path), None, "not executable");
    }
}
