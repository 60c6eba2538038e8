use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::*;
use crate::verify;

fn record(text: &str) -> Map<String, Value> {
    json!({"action": text}).as_object().unwrap().clone()
}

fn log(path: &Path, max_size: u64, keep: usize) -> LogFile {
    LogFile { path: path.to_owned(), max_size, keep, open: None, rotate_after: None }
}

/// The records of lost records.
fn losses(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["action"] == "audit-loss").collect()
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = rotated_files(path).unwrap();
    files.push(path.to_owned());
    files
}

#[test]
fn chain_goes_on_after_a_restart_and_a_cut_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for round in 0..3 {
        let mut log = log(&path, MIB, 3);
        log.write(&[record("a"), record("b")]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        if round == 1 {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(b"{\"sequence\":5,\"acti").unwrap();
        }
    }
    // Two in each round, and one that says that one was lost.
    let verified = verify(std::slice::from_ref(&path)).unwrap().unwrap();
    assert_eq!((verified.first, verified.last), (1, 7));
    let losses = losses(&path);
    assert_eq!(losses.len(), 1);
    assert_eq!((&losses[0]["sequence"], &losses[0]["lost"]), (&json!(5), &json!(1)));
}

#[test]
fn record_that_was_cut_short_anywhere_is_recorded_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    log(&path, MIB, 3).write(&[record("a")]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for length in 1..text.len() {
        fs::write(&path, &text[..length]).unwrap();
        log(&path, MIB, 3).open().unwrap();
        assert_eq!(losses(&path).len(), 1, "{length}");
        assert_eq!(verify(std::slice::from_ref(&path)).unwrap().unwrap().last, 1);
    }
}

#[test]
fn record_that_this_process_could_not_write_is_counted_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut log = log(&path, MIB, 3);
    log.write(&[record("a")]).unwrap();
    // As a full disk leaves it.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"sequence\":2,\"acti").unwrap();
    log.open.as_mut().unwrap().failed = true;
    log.write(&[record("b")]).unwrap();
    assert!(losses(&path).is_empty());
    // What another process leaves is not counted by that one, which may be dead.
    file.write_all(b"{\"sequence\":3,\"acti").unwrap();
    log.write(&[record("c")]).unwrap();
    assert_eq!(losses(&path).len(), 1);
    assert_eq!(verify(&[path]).unwrap().unwrap().last, 4);
}

#[test]
fn several_writers_share_one_chain_across_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let mut log = log(&path, 2000, 1000);
            thread::spawn(move || (0..50).for_each(|_| log.write(&[record("x")]).unwrap()))
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let files = files(&path);
    assert!(files.len() > 5, "{files:?}");
    let verified = verify(&files).unwrap().unwrap();
    assert_eq!((verified.first, verified.last), (1, 200));
}

#[test]
fn old_files_are_removed_and_the_rest_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut log = log(&path, 500, 2);
    (0..40).for_each(|_| log.write(&[record("x")]).unwrap());
    let files = files(&path);
    assert_eq!(files.len(), 3);
    let existing: Vec<_> = files.into_iter().filter(|file| file.exists()).collect();
    let verified = verify(&existing).unwrap().unwrap();
    assert!(verified.first > 1 && verified.last == 40, "{verified:?}");
}

#[test]
fn file_of_others_and_a_damaged_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    log(&path, MIB, 3).write(&[record("a")]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"a\"", "\"b\"")).unwrap();
    let damaged = log(&path, MIB, 3).open().unwrap_err();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let readable = log(&path, MIB, 3).open().unwrap_err();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    let link = log(&path, MIB, 3).open().unwrap_err();
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    let fifo = log(&path, MIB, 3).open();
    assert!(fifo.is_err());
    let folder = folder.path().display().to_string();
    let texts = [damaged, readable, link]
        .map(|error| portolan_core::Remedy::with_remedy(&error).replace(&folder, "FOLDER"));
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn file_that_was_moved_away_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut log = log(&path, MIB, 3);
    log.write(&[record("a")]).unwrap();
    fs::rename(&path, folder.path().join("moved")).unwrap();
    log.write(&[record("b")]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn chain_of_several_writers_goes_on_after_the_file_was_renamed_by_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut writers = [log(&path, MIB, 3), log(&path, MIB, 3), log(&path, MIB, 3)];
    let mut renamed = Vec::new();
    for round in 0..3 {
        // Each knows less than the next one; the one that continues first changes.
        writers.iter_mut().for_each(|log| log.write(&[record("a"), record("b")]).unwrap());
        renamed.push(folder.path().join(format!("renamed.{round}")));
        fs::rename(&path, renamed.last().unwrap()).unwrap();
        writers[round].write(&[record("c")]).unwrap();
    }
    let files: Vec<_> = renamed.iter().chain([&path]).cloned().collect();
    let verified = verify(&files).unwrap().unwrap();
    assert_eq!((verified.first, verified.last), (1, 21));
    assert!(losses(&path).is_empty());
}

#[test]
fn file_that_was_cut_or_removed_while_it_is_written_does_not_verify() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut log = log(&path, MIB, 3);
    let cut: fn(&Path) = |path| {
        let text = fs::read_to_string(path).unwrap();
        let first = text.lines().next().unwrap();
        fs::write(path, format!("{first}\n")).unwrap();
    };
    let remove: fn(&Path) = |path| fs::remove_file(path).unwrap();
    for tamper in [cut, remove] {
        log.write(&[record("a"), record("b"), record("c")]).unwrap();
        let before = log.open.as_ref().unwrap().end;
        tamper(&path);
        log.write(&[record("d")]).unwrap();
        let last = fs::read_to_string(&path).unwrap();
        let last = Link::read(last.lines().last().unwrap()).unwrap();
        assert_eq!((last.sequence, last.previous), (before.sequence + 1, before.hash));
    }
    fs::remove_file(&path).unwrap();
    log.write(&[record("e")]).unwrap();
    cut(&path);
    log.write(&[record("f"), record("g")]).unwrap();
    cut(&path);
    log.write(&[record("h")]).unwrap();
    assert!(
        verify(&[path]).unwrap().is_err(),
        "records are missing between the first and the last"
    );
}

#[test]
fn records_are_written_to_a_file_that_cannot_be_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut log = log(&path, 500, 2);
    log.write(&[record("first")]).unwrap();
    // A directory of this name is in the way.
    fs::create_dir(rotated(&path, 1)).unwrap();
    (0..20).for_each(|_| log.write(&[record("x")]).unwrap());
    assert_eq!(verify(&[path]).unwrap().unwrap().last, 21);
}

#[test]
fn what_is_named_like_an_old_file_is_one_only_if_it_is_a_file_of_this_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let fifo = rotated(&path, 9);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    std::os::unix::fs::symlink("/etc/passwd", rotated(&path, 8)).unwrap();
    log(&path, MIB, 3).write(&[record("x")]).unwrap();
    assert_eq!(verify(&[path]).unwrap().unwrap().first, 1);
}
