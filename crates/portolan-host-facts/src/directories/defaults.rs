//! Where Portolan's files are without a setting.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::processes::home_in_passwd;

/// The directories that come into question for what ends with the boot, in this order. Other users can write
/// into the parent of the last one only.
pub(super) fn runtime() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let of_session = own_directory_in("XDG_RUNTIME_DIR");
    let of_unit = own_directory_in("RUNTIME_DIRECTORY");
    let of_login = Some(PathBuf::from(format!("/run/user/{uid}"))).filter(|path| path.is_dir());
    let of_system = (uid == 0).then(|| PathBuf::from("/run"));
    let parents = [of_session, of_unit, of_login, of_system].into_iter().flatten();
    let of_home = home().filter(|home| home.is_dir());
    let of_home = of_home.map(|home| home.join(".local/state/portolan/run"));
    let shared = PathBuf::from(format!("/tmp/portolan-{uid}"));
    let mut all: Vec<PathBuf> = parents.map(|parent| parent.join("portolan")).collect();
    all.extend(of_home.into_iter().chain([shared]));
    all
}

/// The directory for what outlives the boot; `None` if none is known.
pub(super) fn state() -> Option<PathBuf> {
    let of_home = || home().map(|home| home.join(".local/state"));
    Some(own_directory_in("XDG_STATE_HOME").or_else(of_home)?.join("portolan"))
}

/// The home directory of this user: `$HOME`, or if that belongs to another user, as after `sudo -E` and `su -m`,
/// the one in `/etc/passwd`.
pub(super) fn home() -> Option<PathBuf> {
    let of_user = || home_in_passwd(rustix::process::geteuid().as_raw());
    own_directory_in("HOME").or_else(of_user)
}

/// The directory of this user's configuration files.
pub(super) fn config_home() -> Option<PathBuf> {
    own_directory_in("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))
}

/// The absolute path in the variable, unless it is another user's directory. A relative one is ignored (XDG Base
/// Directory Specification); of several, the first one is used (`RuntimeDirectory=`, systemd.exec(5)).
fn own_directory_in(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable)?;
    let first = match variable {
        "RUNTIME_DIRECTORY" => env::split_paths(&value).next()?,
        _ => PathBuf::from(value),
    };
    let uid = rustix::process::geteuid().as_raw();
    Some(first).filter(|path| path.is_absolute() && !is_of_another(path, uid))
}

fn is_of_another(directory: &Path, uid: u32) -> bool {
    fs::metadata(directory).is_ok_and(|found| found.uid() != uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_of_another_user_is_detected() {
        let base = tempfile::tempdir().unwrap();
        let own = fs::metadata(base.path()).unwrap().uid();
        assert!(!is_of_another(base.path(), own) && is_of_another(base.path(), own + 1));
        assert!(!is_of_another(&base.path().join("missing"), own));
    }

    #[test]
    fn defaults_need_no_setting() {
        let runtime = runtime();
        assert!(runtime.iter().all(|path| path.is_absolute()));
        assert!(runtime.last().unwrap().starts_with("/tmp"), "{runtime:?}");
        assert!(state().is_none_or(|path| path.ends_with("portolan")));
    }
}
