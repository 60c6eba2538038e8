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
    let error = OutputFile::new("/nonexistent/file").write("a").await.unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/file: "), "{error}");
}
