use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use super::*;

fn pid_file(directory: &Path, pid: u32) -> PathBuf {
    let path = directory.join("pid");
    fs::write(&path, format!("{pid}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    path
}

#[test]
fn file_that_others_can_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = pid_file(directory.path(), std::process::id());
    process_of(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o646)).unwrap();
    let error = process_of(&path).unwrap_err();
    assert!(matches!(error, PidFileError::Writable(0o646)), "{error}");
    assert!(error.remedy().is_some());
}

/// Only root can give a file to another user.
#[test]
fn file_of_another_user_names_only_what_that_user_may_signal() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = pid_file(directory.path(), std::process::id());
    chown(&path, Some(12345), None).unwrap();
    let error = process_of(&path).unwrap_err();
    assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    // The user of the process is the owner of the file.
    let mut own = std::process::Command::new("sleep");
    let mut own = std::os::unix::process::CommandExt::uid(own.arg("1000"), 12345).spawn().unwrap();
    fs::write(&path, own.id().to_string()).unwrap();
    process_of(&path).unwrap();
    own.kill().unwrap();
    own.wait().unwrap();
}

#[test]
fn whoever_is_neither_the_real_nor_the_saved_user_may_not_signal() {
    let own = Pid::from_raw(std::process::id().cast_signed()).unwrap();
    assert!(may_signal(rustix::process::getuid().as_raw(), own));
    assert!(!may_signal(u32::MAX - 1, own));
}

#[test]
fn pipe_device_and_large_file_are_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let [fifo, zero, large] = ["fifo", "zero", "large"].map(|name| directory.path().join(name));
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    symlink("/dev/zero", &zero).unwrap();
    for path in [fifo, zero] {
        let error = process_of(&path).unwrap_err().to_string();
        assert!(error.ends_with("expected a regular file"), "{error}");
    }
    fs::write(&large, " ".repeat(65)).unwrap();
    assert!(matches!(process_of(&large), Err(PidFileError::Large)));
    let missing = process_of(&directory.path().join("missing"));
    assert!(matches!(missing, Err(PidFileError::Missing)));
}
