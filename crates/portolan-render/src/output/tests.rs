use std::os::unix::fs::symlink;

use super::*;

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn file_is_written_only_if_it_differs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let output = OutputFile::new(&path);
    assert_eq!(output.write("a").await.unwrap(), Outcome::Written);
    let inode = path.metadata().unwrap().ino();
    assert_eq!(output.write("a").await.unwrap(), Outcome::Unchanged);
    assert_eq!(path.metadata().unwrap().ino(), inode);
    assert_eq!(output.write("b").await.unwrap(), Outcome::Written);
    assert_eq!(text_of(&path), "b");
}

#[tokio::test]
async fn link_and_permissions_stay() {
    let directory = tempfile::tempdir().unwrap();
    let [file, link] = ["file", "link"].map(|name| directory.path().join(name));
    fs::write(&file, "a").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();
    OutputFile::new(&link).write("b").await.unwrap();
    assert!(link.is_symlink());
    assert_eq!((text_of(&file).as_str(), file.metadata().unwrap().mode() & 0o777), ("b", 0o640));
    OutputFile::new(&link).mode(0o604).write("c").await.unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o604);
}

#[tokio::test]
async fn file_that_its_command_rejects_does_not_replace_the_former_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.conf");
    let accepts_good = "grep -q good {file}".parse::<CommandWords>().unwrap();
    let output = OutputFile::new(&path).check(accepts_good);
    assert_eq!(output.write("good").await.unwrap(), Outcome::Written);
    let error = output.write("bad").await.unwrap_err();
    assert!(matches!(error, RenderError::Rejected { .. }), "{error}");
    let missing = "/nonexistent/program {file}".parse::<CommandWords>().unwrap();
    let error = OutputFile::new(&path).check(missing).write("good 2").await.unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
    assert_eq!(text_of(&path), "good");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no other file is left");
}

#[tokio::test]
async fn directory_that_is_missing_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing/file");
    let error = OutputFile::new(&path).write("a").await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
}

/// Only root can give a link to another user; for others `place/tests.rs` shows the same.
#[tokio::test]
async fn link_of_another_user_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let [file, link] = ["file", "link"].map(|name| directory.path().join(name));
    fs::write(&file, "of root").unwrap();
    symlink(&file, &link).unwrap();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
    let error = OutputFile::new(&link).write("b").await.unwrap_err();
    assert!(matches!(error, RenderError::Place { .. }), "{error}");
    assert!(error.to_string().contains("belongs to another user, 12345"), "{error}");
    assert!(portolan_core::Remedy::remedy(&error).is_some());
    assert_eq!((text_of(&file).as_str(), link.is_symlink()), ("of root", true));
}

#[tokio::test]
async fn pipe_and_device_are_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let [fifo, zero] = ["fifo", "zero"].map(|name| directory.path().join(name));
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    symlink("/dev/zero", &zero).unwrap();
    for path in [fifo, zero] {
        let error = OutputFile::new(path).write("a").await.unwrap_err().to_string();
        assert!(error.ends_with("expected a regular file"), "{error}");
    }
}

#[tokio::test]
async fn link_to_a_file_that_is_missing_stays_and_the_file_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let [file, link] = ["file", "link"].map(|name| directory.path().join(name));
    symlink(&file, &link).unwrap();
    OutputFile::new(&link).write("a").await.unwrap();
    assert!(link.is_symlink());
    assert_eq!(text_of(&file), "a");
}
