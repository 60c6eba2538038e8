//! Who besides this user can replace the files of a data directory.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why other users can replace the files of a directory, and with them every registration; `None` if they cannot. A group
/// that may write is not named: orchestrators give a volume to the group of its server.
pub(super) fn exposure(directory: &Path) -> io::Result<Option<String>> {
    let metadata = fs::metadata(directory)?;
    let user = rustix::process::geteuid().as_raw();
    Ok(exposed(metadata.uid(), metadata.mode() & 0o7777, user))
}

/// Root decides on everything anyway.
fn exposed(owner: u32, mode: u32, user: u32) -> Option<String> {
    if owner != user && owner != 0 {
        return Some(format!("it belongs to the user {owner}, and the server runs as {user}"));
    }
    (mode & 0o002 != 0).then(|| format!("everybody may write to it (mode {mode:04o})"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directory_of_another_user_or_for_everybody_is_exposed() {
        for (owner, mode, user) in [(7, 0o700, 7), (0, 0o2770, 7), (0, 0o755, 0)] {
            assert_eq!(exposed(owner, mode, user), None, "{owner} {mode:o} {user}");
        }
        for (owner, mode, user, text) in [
            (7, 0o700, 0, "belongs to the user 7, and the server runs as 0"),
            (8, 0o700, 7, "belongs to the user 8"),
            (0, 0o777, 0, "mode 0777"),
            (0, 0o1777, 7, "mode 1777"),
        ] {
            let found = exposed(owner, mode, user).unwrap();
            assert!(found.contains(text), "{found}");
        }
    }

    #[test]
    fn mode_of_a_directory_is_examined() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(exposure(directory.path()).unwrap(), None);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(exposure(directory.path()).unwrap().is_some());
    }
}
