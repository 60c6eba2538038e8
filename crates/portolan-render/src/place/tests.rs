use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Of no user.
const NOBODY: u32 = u32::MAX - 1;

#[test]
fn links_of_this_user_lead_to_the_file() {
    let base = tempfile::tempdir().unwrap();
    let real = base.path().canonicalize().unwrap();
    fs::create_dir_all(base.path().join("a/b")).unwrap();
    symlink("a/b", base.path().join("relative")).unwrap();
    symlink(base.path().join("relative/../c"), base.path().join("absolute")).unwrap();
    for (path, expected) in [("a/b/c", "a/b/c"), ("relative/c", "a/b/c"), ("absolute", "a/c")] {
        let place = Place::of(&base.path().join(path)).unwrap();
        assert_eq!(place.path(), real.join(expected), "{path}");
        assert!(place.open().unwrap().is_none());
    }
}

#[test]
fn link_of_another_user_is_refused_wherever_it_is_on_the_way() {
    let base = tempfile::tempdir().unwrap();
    let real = base.path().canonicalize().unwrap();
    fs::create_dir(base.path().join("directory")).unwrap();
    fs::write(base.path().join("file"), "").unwrap();
    symlink("directory", base.path().join("way")).unwrap();
    symlink("file", base.path().join("last")).unwrap();
    symlink("missing", base.path().join("dangling")).unwrap();
    for (path, link) in [("way/x", "way"), ("last", "last"), ("dangling", "dangling")] {
        let error = Place::trusting(&real.join(path), &[NOBODY]).unwrap_err();
        let PlaceError::ForeignLink { link: found, owner } = &error else { panic!("{error}") };
        let own = rustix::process::geteuid().as_raw();
        assert_eq!((found, *owner), (&real.join(link), own));
        assert!(error.remedy().unwrap().contains("chown -h"), "{error}");
    }
    Place::trusting(&real.join("file"), &[NOBODY]).unwrap();
}

#[test]
fn loop_of_links_ends() {
    let base = tempfile::tempdir().unwrap();
    symlink("loop", base.path().join("loop")).unwrap();
    let error = Place::of(&base.path().join("loop")).unwrap_err();
    assert!(error.to_string().contains("symbolic links"), "{error}");
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let base = tempfile::tempdir().unwrap();
    rustix::fs::mkfifoat(CWD, base.path().join("fifo"), Mode::RWXU).unwrap();
    symlink("/dev/zero", base.path().join("zero")).unwrap();
    for (name, kind) in [("fifo", "a FIFO"), ("zero", "a device"), (".", "a directory")] {
        let place = Place::of(&base.path().join(name)).unwrap();
        let error = place.open().unwrap_err().to_string();
        assert_eq!(error, format!("it is {kind}, expected a regular file"));
    }
    let error = Place::of(Path::new("/")).unwrap_err().to_string();
    assert!(error.contains("a directory"), "{error}");
}
