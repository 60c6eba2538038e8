mod damage;

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Builds a table in the directory and returns its path.
fn build_in(directory: &Path) -> PathBuf {
    open(directory).unwrap().0
}

#[test]
fn table_is_built_if_missing_and_opened_otherwise() {
    let directory = directory();
    let (path, file) = open(directory.path()).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(is_intact(&file).unwrap());
    let (again, other) = open(directory.path()).unwrap();
    assert_eq!(again, path);
    assert_eq!(other.metadata().unwrap().ino(), file.metadata().unwrap().ino());
    let blocks = file.metadata().unwrap().blocks() * 512;
    assert!(blocks < 2 * 1024 * 1024, "{blocks} bytes of disk for an empty table");
}

#[test]
fn file_that_others_could_write_is_refused() {
    let directory = directory();
    let path = build_in(directory.path());
    let refused = || matches!(open(directory.path()), Err(TableError::NotOwned { .. }));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    assert!(refused(), "the group could write it");
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    assert!(refused(), "a symbolic link");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refused(), "a directory");
}

#[test]
fn unused_tables_of_earlier_boots_are_removed() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let older = ["ports-0123-1.table", "ports-4567-1.table", "ports-89ab-1.table"];
    for name in older.into_iter().chain(["ports-x.txt", "other.table", "ports-0123-1.5.session"]) {
        fs::write(path(name), "").unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let used = open_file(&path("ports-4567-1.table"), false).unwrap();
    assert!(lock::try_lock(&used, session_lock(5), Kind::Exclusive).unwrap());
    let _child = share::take(&path("ports-89ab-1.3.session")).unwrap();
    build_in(directory.path());
    let left = |name| path(name).exists();
    assert!(!left("ports-0123-1.table") && !left("ports-0123-1.5.session"));
    assert!(left("ports-89ab-1.table") && left("ports-89ab-1.3.session"));
    assert!(left("ports-4567-1.table") && left("ports-x.txt") && left("other.table"));
}

#[test]
fn damaged_table_is_not_rebuilt_while_a_child_has_a_share_of_a_session() {
    let directory = directory();
    let path = build_in(directory.path());
    let child = share::take(&share::path(&path, 3)).unwrap();
    open_file(&path, false).unwrap().set_len(7).unwrap();
    assert!(matches!(open(directory.path()), Err(TableError::Damaged { .. })));
    drop(child);
    assert!(open(directory.path()).is_ok());
}
