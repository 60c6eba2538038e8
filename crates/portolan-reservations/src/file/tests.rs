mod damage;

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The path of the table in a folder, with a table there.
fn made(folder: &Path) -> PathBuf {
    open(folder).unwrap().0
}

#[test]
fn a_table_is_made_where_there_is_none_and_found_where_there_is() {
    let folder = folder();
    let (path, file) = open(folder.path()).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(is_whole(&file).unwrap());
    let (again, other) = open(folder.path()).unwrap();
    assert_eq!(again, path);
    assert_eq!(other.metadata().unwrap().ino(), file.metadata().unwrap().ino());
    let blocks = file.metadata().unwrap().blocks() * 512;
    assert!(blocks < 2 * 1024 * 1024, "{blocks} bytes of disk for an empty table");
}

#[test]
fn what_is_no_file_of_ours_is_refused() {
    let folder = folder();
    let path = made(folder.path());
    let refused = || matches!(open(folder.path()), Err(TableError::NotOurs { .. }));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    assert!(refused(), "others could write it");
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    assert!(refused(), "a link leads elsewhere");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refused(), "a folder is no file");
}

#[test]
fn tables_of_earlier_boots_go_when_nobody_uses_them() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    for name in ["ports-0123-1.table", "ports-4567-1.table", "ports-x.txt", "other.table"] {
        fs::write(path(name), "").unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let used = open_file(&path("ports-4567-1.table"), false).unwrap();
    assert!(lock::try_lock(&used, session_lock(5), Kind::Exclusive).unwrap());
    made(folder.path());
    let left = |name| path(name).exists();
    assert!(!left("ports-0123-1.table"));
    assert!(left("ports-4567-1.table") && left("ports-x.txt") && left("other.table"));
}
