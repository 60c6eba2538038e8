//! The directories of Portolan's files, created if missing, and whether only this user can change
//! them.

mod defaults;
mod walk;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use portolan_core::{Remedy, shell_word};
use tracing::warn;

use walk::Refusal;

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
    /// Another user can put something else in its place.
    #[error(
        "the directory {} could be redirected by another user: {} belongs to uid {owner} with mode {mode:03o}",
        path.display(), component.display()
    )]
    Redirectable {
        /// The directory.
        path: PathBuf,
        /// The directory or link on the way to it.
        component: PathBuf,
        /// The user id of the component's owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
        /// The setting that names another directory.
        setting: &'static str,
    },
}

// === impl DirectoryError ===

impl DirectoryError {
    /// Whether the same error is to be expected the next time, in other processes too, and this user did not cause
    /// it: processes that began before the user did would have another table.
    fn is_lasting(&self) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
        match self {
            Self::NotPrivate { owner, expected, .. } => owner != expected,
            Self::Unusable { source, .. } => matches!(
                source.kind(),
                NotFound | PermissionDenied | ReadOnlyFilesystem | NotADirectory
            ),
            _ => true,
        }
    }
}

impl Remedy for DirectoryError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Unusable { setting, .. } => format!("set {setting} to another directory").into(),
            Self::NotADirectory { setting, .. } => {
                format!("remove it, or set {setting} to another directory").into()
            }
            Self::NotPrivate { path, owner, expected, setting, .. } if owner == expected => {
                let path = shell_word(path);
                format!("run `chmod 700 {path}`, or set {setting} to another directory").into()
            }
            Self::NotPrivate { setting, .. } => {
                format!("set {setting} to a directory of your own").into()
            }
            Self::Redirectable { component, setting, .. } => format!(
                "let {} belong to this user or root and be writable for nobody else, or set {setting} to another directory",
                component.display()
            )
            .into(),
        })
    }
}

/// Returns the directory of what ends with the boot: `configured`, else the first of these that only this user
/// can change: `portolan` in `$XDG_RUNTIME_DIR`, in `$RUNTIME_DIRECTORY`, in `/run/user/UID` and for root in `/run`,
/// `~/.local/state/portolan/run`, and `/tmp/portolan-UID`. Creates it if it is missing.
///
/// A process that can write there can take ports away, so it must be private to this user. `setting` is
/// the name of the setting of `configured`, for errors.
pub fn runtime(
    configured: Option<&Path>,
    setting: &'static str,
) -> Result<PathBuf, DirectoryError> {
    match configured {
        Some(path) => create_private(path, setting).map(|()| path.to_owned()),
        None => first_usable(defaults::runtime(), setting),
    }
}

/// Returns the directory of what outlives the boot: `configured`, else `$XDG_STATE_HOME/portolan`,
/// else `~/.local/state/portolan`. Creates it if it is missing; `None` if neither is known.
pub fn state(
    configured: Option<&Path>,
    setting: &'static str,
) -> Result<Option<PathBuf>, DirectoryError> {
    let path = configured.map(Path::to_path_buf).or_else(defaults::state);
    path.iter().try_for_each(|path| create_private(path, setting))?;
    Ok(path)
}

/// Returns the home directory of this user: `$HOME`, or if that belongs to another user, as after `sudo -E`, the
/// one in `/etc/passwd`.
pub fn home() -> Option<PathBuf> {
    defaults::home()
}

/// Returns the directory of this user's configuration files: `$XDG_CONFIG_HOME`, unless that belongs to another user,
/// else `~/.config`.
pub fn config_home() -> Option<PathBuf> {
    defaults::config_home()
}

/// Another user can deny a directory in `/tmp`, and an administrator one in `/run`: then the next one is used.
fn first_usable(
    candidates: Vec<PathBuf>,
    setting: &'static str,
) -> Result<PathBuf, DirectoryError> {
    let mut candidates = candidates.into_iter().peekable();
    while let Some(path) = candidates.next() {
        match create_private(&path, setting) {
            Ok(()) => return Ok(path),
            // All processes of a user must choose the same one, so a shortage of memory must not decide.
            Err(error) if error.is_lasting() && candidates.peek().is_some() => warn_once(&error),
            Err(error) => return Err(error),
        }
    }
    let (path, source) = (PathBuf::from("/tmp"), io::ErrorKind::NotFound.into());
    Err(DirectoryError::Unusable { path, setting, source })
}

fn warn_once(error: &DirectoryError) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Relaxed) {
        warn!(error = error.with_remedy(), "Runtime directory not usable, using the next one");
    }
}

fn create_private(path: &Path, setting: &'static str) -> Result<(), DirectoryError> {
    let found = walk::create(path).map_err(|refusal| refused(path, setting, refusal))?;
    let (owner, mode) = (found.st_uid, found.st_mode & 0o777);
    let expected = rustix::process::geteuid().as_raw();
    if owner != expected || mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(DirectoryError::NotPrivate { path, owner, expected, mode, setting });
    }
    Ok(())
}

fn refused(path: &Path, setting: &'static str, refusal: Refusal) -> DirectoryError {
    let path = path.to_owned();
    match refusal {
        Refusal::System(source) => DirectoryError::Unusable { path, setting, source },
        Refusal::NotADirectory => DirectoryError::NotADirectory { path, setting },
        Refusal::Redirectable { component, owner, mode } => {
            DirectoryError::Redirectable { path, component, owner, mode, setting }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
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
    fn links_of_this_user_are_followed_except_the_last() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("real")).unwrap();
        symlink("real", base.path().join("link")).unwrap();
        symlink(base.path().join("link"), base.path().join("absolute")).unwrap();
        let path = base.path().join("absolute/../link/a");
        assert_eq!(runtime(Some(&path), SETTING).unwrap(), path);
        assert!(base.path().join("real/a").is_dir());
        symlink("loop", base.path().join("loop")).unwrap();
        let error = runtime(Some(&base.path().join("loop/a")), SETTING).unwrap_err();
        assert!(error.to_string().contains("symbolic links"), "{error}");
    }

    #[test]
    fn directory_below_one_that_others_can_change_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let open = base.path().join("open");
        fs::create_dir(&open).unwrap();
        let path = open.join("a/b");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let error = runtime(Some(&path), SETTING).unwrap_err();
        assert!(
            matches!(&error, DirectoryError::Redirectable { component, mode: 0o777, .. } if *component == open),
            "{error}"
        );
        assert!(!open.join("a").exists());
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        runtime(Some(&path), SETTING).unwrap();
    }

    #[test]
    fn next_directory_is_used_if_one_is_denied() {
        let base = tempfile::tempdir().unwrap();
        let [denied, next] = ["denied", "next"].map(|name| base.path().join(name));
        fs::write(&denied, "").unwrap();
        assert_eq!(first_usable(vec![denied.clone(), next.clone()], SETTING).unwrap(), next);
        fs::set_permissions(&next, fs::Permissions::from_mode(0o770)).unwrap();
        let error = first_usable(vec![next, base.path().join("other")], SETTING).unwrap_err();
        assert!(matches!(error, DirectoryError::NotPrivate { .. }), "this user can repair it");
        let error = first_usable(vec![denied], SETTING).unwrap_err();
        assert!(matches!(error, DirectoryError::NotADirectory { .. }), "{error}");
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
        let (component, owner) = (PathBuf::from("/home/ann/.local"), 1001);
        let texts = [
            DirectoryError::Redirectable {
                path: path(),
                component,
                owner,
                mode: 0o777,
                setting: SETTING,
            },
            DirectoryError::Unusable { path: path(), setting: SETTING, source },
            DirectoryError::NotADirectory { path: path(), setting: SETTING },
            not_private(1000, 0o770),
            not_private(0, 0o700),
        ]
        .map(|error| error.with_remedy());
        insta::assert_snapshot!(texts.join("\n"));
    }
}
