//! The folders that Portolan keeps things in, and whether they are to be trusted.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::config::PortAllocatorConfig;
use crate::error::DirectoryError;

/// The setting that names the folder of the table.
const RUNTIME: &str = "port_allocator.runtime_dir";
/// The setting that names the folder of what survives a reboot.
const STATE: &str = "port_allocator.state_dir";

// === impl PortAllocatorConfig ===

impl PortAllocatorConfig {
    /// The directory of the reservation table. Creates it if it is missing.
    pub fn runtime_directory(&self) -> Result<PathBuf, DirectoryError> {
        runtime(self.runtime_dir.as_deref())
    }

    /// The directory of the last ports of each service. Creates it if it is missing; `None` if
    /// neither the configuration nor the environment names one.
    pub fn state_directory(&self) -> Result<Option<PathBuf>, DirectoryError> {
        state(self.state_dir.as_deref())
    }
}

/// The folder of the table of reservations, made where it was missing, and this user's alone:
/// whoever can write there can take ports away.
pub(crate) fn runtime(configured: Option<&Path>) -> Result<PathBuf, DirectoryError> {
    let path = configured.map_or_else(default_runtime, Path::to_path_buf);
    make_ours(&path, RUNTIME)?;
    Ok(path)
}

/// The folder of what survives a reboot; none where nothing says where it could be.
pub(crate) fn state(configured: Option<&Path>) -> Result<Option<PathBuf>, DirectoryError> {
    let path = configured.map(Path::to_path_buf).or_else(default_state);
    path.iter().try_for_each(|path| make_ours(path, STATE))?;
    Ok(path)
}

fn default_runtime() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let of_login = PathBuf::from(format!("/run/user/{uid}"));
    // After `su` or `sudo -E` the variable names another user's folder: it must be one's own (XDG).
    let of_session = absolute_path_in("XDG_RUNTIME_DIR").filter(|path| !is_of_another(path, uid));
    match of_session.or_else(|| of_login.is_dir().then_some(of_login)) {
        Some(parent) => parent.join("portolan"),
        None => PathBuf::from(format!("/tmp/portolan-{uid}")),
    }
}

fn default_state() -> Option<PathBuf> {
    let of_home = || absolute_path_in("HOME").map(|home| home.join(".local/state"));
    Some(absolute_path_in("XDG_STATE_HOME").or_else(of_home)?.join("portolan"))
}

fn is_of_another(folder: &Path, uid: u32) -> bool {
    fs::metadata(folder).is_ok_and(|found| found.uid() != uid)
}

/// A relative path counts as none (XDG Base Directory Specification).
fn absolute_path_in(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn make_ours(path: &Path, setting: &'static str) -> Result<(), DirectoryError> {
    let unusable = |source| DirectoryError::Unusable { path: path.to_owned(), setting, source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(unusable)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unusable(error)),
        _ => check_ours(path, setting),
    }
}

fn check_ours(path: &Path, setting: &'static str) -> Result<(), DirectoryError> {
    let unusable = |source| DirectoryError::Unusable { path: path.to_owned(), setting, source };
    // The link itself is looked at: in /tmp somebody else could have put it there.
    let found = fs::symlink_metadata(path).map_err(unusable)?;
    if !found.is_dir() {
        return Err(DirectoryError::NotAFolder { path: path.to_owned(), setting });
    }
    let (owner, mode) = (found.uid(), found.mode() & 0o777);
    match owner == rustix::process::geteuid().as_raw() && mode & 0o077 == 0 {
        true => Ok(()),
        false => Err(DirectoryError::NotOurs { path: path.to_owned(), owner, mode, setting }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_missing_folder_is_made_for_this_user_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        assert_eq!(runtime(Some(&path)).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(state(Some(&path)).unwrap(), Some(path));
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused_with_the_remedy() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let error = runtime(Some(base.path())).unwrap_err().to_string();
        assert!(error.contains("mode 770") && error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_link_or_a_file_is_not_taken_for_a_folder() {
        let base = tempfile::tempdir().unwrap();
        let (link, file) = (base.path().join("link"), base.path().join("file"));
        symlink(base.path(), &link).unwrap();
        fs::write(&file, "").unwrap();
        for path in [&link, &file] {
            let error = runtime(Some(path)).unwrap_err();
            assert!(matches!(error, DirectoryError::NotAFolder { .. }), "{error}");
        }
        let below = state(Some(&file.join("x"))).unwrap_err();
        assert!(matches!(below, DirectoryError::Unusable { .. }), "{below}");
    }

    #[test]
    fn a_folder_of_another_user_is_told_from_ones_own() {
        let base = tempfile::tempdir().unwrap();
        let own = fs::metadata(base.path()).unwrap().uid();
        assert!(!is_of_another(base.path(), own) && is_of_another(base.path(), own + 1));
        assert!(!is_of_another(&base.path().join("not made yet"), own));
    }

    #[test]
    fn without_a_setting_there_is_still_a_place() {
        assert!(default_runtime().is_absolute());
        assert!(default_state().is_none_or(|path| path.ends_with("portolan")));
    }
}
