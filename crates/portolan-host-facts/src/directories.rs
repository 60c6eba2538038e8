//! The directories of Portolan's files, created if missing, and whether only this user can change
//! them.

use std::borrow::Cow;
use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use portolan_core::Remedy;

/// Why a directory cannot hold Portolan's files. Retrying helps once the directory is repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It cannot be created or examined.
    #[error("cannot use the directory {}: {source}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The setting that names another directory.
        setting: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It is a symbolic link or a file.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What should be a directory.
        path: PathBuf,
        /// The setting that names another directory.
        setting: &'static str,
    },
    /// Another user can write to it.
    #[error(
        "the directory {} belongs to uid {owner} with mode {mode:03o}: expected uid {expected} with mode 700",
        path.display()
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// The user id of this process.
        expected: u32,
        /// Its permission bits.
        mode: u32,
        /// The setting that names another directory.
        setting: &'static str,
    },
}

// === impl DirectoryError ===

impl Remedy for DirectoryError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Unusable { setting, .. } => format!("set {setting} to another directory").into(),
            Self::NotADirectory { setting, .. } => {
                format!("remove it, or set {setting} to another directory").into()
            }
            Self::NotPrivate { path, owner, expected, setting, .. } if owner == expected => {
                let path = path.display();
                format!("run `chmod 700 {path}`, or set {setting} to another directory").into()
            }
            Self::NotPrivate { setting, .. } => {
                format!("set {setting} to a directory of your own").into()
            }
        })
    }
}

/// Returns the directory of what ends with the boot: `configured`, else `$XDG_RUNTIME_DIR/portolan`,
/// else `/run/user/UID/portolan`, else `/tmp/portolan-UID`. Creates it if it is missing.
///
/// A process that can write there can take ports away, so it must be private to this user. `setting` is
/// the name of the setting of `configured`, for errors.
pub fn runtime(
    configured: Option<&Path>,
    setting: &'static str,
) -> Result<PathBuf, DirectoryError> {
    let path = configured.map_or_else(default_runtime, Path::to_path_buf);
    create_private(&path, setting)?;
    Ok(path)
}

/// Returns the directory of what outlives the boot: `configured`, else `$XDG_STATE_HOME/portolan`,
/// else `~/.local/state/portolan`. Creates it if it is missing; `None` if neither is known.
pub fn state(
    configured: Option<&Path>,
    setting: &'static str,
) -> Result<Option<PathBuf>, DirectoryError> {
    let path = configured.map(Path::to_path_buf).or_else(default_state);
    path.iter().try_for_each(|path| create_private(path, setting))?;
    Ok(path)
}

fn default_runtime() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let of_login = PathBuf::from(format!("/run/user/{uid}"));
    // After `su` or `sudo -E` the variable names another user's directory, which it must not (XDG).
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

fn is_of_another(directory: &Path, uid: u32) -> bool {
    fs::metadata(directory).is_ok_and(|found| found.uid() != uid)
}

/// Ignores a relative path (XDG Base Directory Specification).
fn absolute_path_in(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn create_private(path: &Path, setting: &'static str) -> Result<(), DirectoryError> {
    let unusable = |source| DirectoryError::Unusable { path: path.to_owned(), setting, source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(unusable)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(error)),
        _ => {}
    }
    // Without following a link, which another user could have put into /tmp.
    let found = fs::symlink_metadata(path).map_err(unusable)?;
    let path = path.to_owned();
    if !found.is_dir() {
        return Err(DirectoryError::NotADirectory { path, setting });
    }
    let (owner, mode) = (found.uid(), found.mode() & 0o777);
    let expected = rustix::process::geteuid().as_raw();
    if owner != expected || mode & 0o077 != 0 {
        return Err(DirectoryError::NotPrivate { path, owner, expected, mode, setting });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const SETTING: &str = "port_allocator.runtime_dir";

    #[test]
    fn missing_directory_is_created_with_mode_0700() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        assert_eq!(runtime(Some(&path), SETTING).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(state(Some(&path), SETTING).unwrap(), Some(path));
    }

    #[test]
    fn directory_writable_by_others_is_refused() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let error = runtime(Some(base.path()), SETTING).unwrap_err();
        assert!(matches!(error, DirectoryError::NotPrivate { mode: 0o770, .. }), "{error}");
    }

    #[test]
    fn symlink_or_file_is_refused_as_directory() {
        let base = tempfile::tempdir().unwrap();
        let (link, file) = (base.path().join("link"), base.path().join("file"));
        symlink(base.path(), &link).unwrap();
        fs::write(&file, "").unwrap();
        for path in [&link, &file] {
            let error = runtime(Some(path), SETTING).unwrap_err();
            assert!(matches!(error, DirectoryError::NotADirectory { .. }), "{error}");
        }
        let below = state(Some(&file.join("x")), SETTING).unwrap_err();
        assert!(matches!(below, DirectoryError::Unusable { .. }), "{below}");
    }

    #[test]
    fn directory_of_another_user_is_detected() {
        let base = tempfile::tempdir().unwrap();
        let own = fs::metadata(base.path()).unwrap().uid();
        assert!(!is_of_another(base.path(), own) && is_of_another(base.path(), own + 1));
        assert!(!is_of_another(&base.path().join("missing"), own));
    }

    #[test]
    fn defaults_need_no_setting() {
        assert!(default_runtime().is_absolute());
        assert!(default_state().is_none_or(|path| path.ends_with("portolan")));
    }

    #[test]
    fn texts_and_remedies() {
        let path = || PathBuf::from("/tmp/portolan-1000");
        let not_private = |owner, mode| DirectoryError::NotPrivate {
            path: path(),
            owner,
            expected: 1000,
            mode,
            setting: SETTING,
        };
        let source = io::ErrorKind::PermissionDenied.into();
        let texts = [
            DirectoryError::Unusable { path: path(), setting: SETTING, source },
            DirectoryError::NotADirectory { path: path(), setting: SETTING },
            not_private(1000, 0o770),
            not_private(0, 0o700),
        ]
        .map(|error| error.with_remedy());
        insta::assert_snapshot!(texts.join("\n"));
    }
}
