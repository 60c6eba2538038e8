use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::Table;

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
fn a_damaged_table_that_nobody_uses_is_made_anew() {
    let whole = folder();
    let length = fs::metadata(made(whole.path())).unwrap().len();
    let damages: [fn(&File, u64); 5] = [
        |file, _| file.set_len(0).unwrap(),
        |file, _| file.set_len(7).unwrap(),
        |file, length| file.set_len(length - 1).unwrap(),
        |file, length| file.set_len(length + 4096).unwrap(),
        |file, _| file.write_all_at(b"something else..", 0).unwrap(),
    ];
    for damage in damages {
        let folder = folder();
        let (_, file) = open(folder.path()).unwrap();
        damage(&file, length);
        // A slot that would say that somebody holds its port.
        file.write_all_at(&[0xff; 8], bytes(SLOTS + 80)).unwrap();
        assert!(!is_whole(&file).unwrap());
        let (_, again) = open(folder.path()).unwrap();
        assert!(is_whole(&again).unwrap());
        let mut slot = [1; 8];
        again.read_exact_at(&mut slot, bytes(SLOTS + 80)).unwrap();
        assert_eq!(slot, [0; 8]);
    }
}

#[test]
fn a_damaged_table_that_somebody_uses_is_refused() {
    let folder = folder();
    let table = Table::open(folder.path()).unwrap();
    table.open_session(1).unwrap();
    let path = made(folder.path());
    let file = open_file(&path, false).unwrap();
    file.write_all_at(&[9; 8], 8).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(refused, TableError::Damaged { .. }), "{refused}");
    assert!(matches!(table.check(), Err(TableError::Damaged { .. })));
    drop(table);
    made(folder.path());
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn a_table_with_a_changed_header_is_never_used(at in 0_u64..16, change in 1_u8..=255) {
        let folder = folder();
        let (_, file) = open(folder.path()).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ change], at).unwrap();
        prop_assert!(!is_whole(&file).unwrap());
        prop_assert!(is_whole(&open(folder.path()).unwrap().1).unwrap());
    }
}
