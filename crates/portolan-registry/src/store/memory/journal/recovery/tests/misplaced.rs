//! Whole lines of a journal that are missing, or are not where they were written.

use super::super::super::frame::Lines;
use super::*;

/// A journal of nine registrations.
async fn written() -> (Directory, Vec<Vec<u8>>) {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    for port in 1..=9 {
        register(&store, port).await;
    }
    drop(store);
    let lines = lines(&directory.journal());
    assert_eq!(lines.len(), 11);
    (directory, lines)
}

/// The line that an error names, and what it says.
fn damage(directory: &Directory, lines: &[Vec<u8>]) -> (u64, String) {
    fs::write(directory.journal(), lines.concat()).unwrap();
    match directory.open().unwrap_err() {
        OpenError::DataDir(DataDirError::Damaged { line, problem, .. }) => (line, problem),
        error => panic!("{error}"),
    }
}

/// The line as earlier versions wrote it.
fn without_offset(line: &[u8]) -> Vec<u8> {
    let line = Lines::new(line).next().unwrap().unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(line.json().unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("offset");
    encode(&value)
}

#[tokio::test]
async fn lines_that_are_removed_moved_or_repeated_are_damage() {
    let (directory, lines) = written().await;
    let changed = |change: fn(&mut Vec<Vec<u8>>)| {
        let mut changed = lines.clone();
        change(&mut changed);
        damage(&directory, &changed)
    };
    let (line, problem) = changed(|lines| drop(lines.drain(3..5)));
    assert!(line == 4 && problem.contains("lines were removed, moved or repeated"), "{problem}");
    assert_eq!(changed(|lines| drop(lines.remove(1))).0, 2);
    assert_eq!(changed(|lines| lines.swap(9, 10)).0, 10);
    assert_eq!(changed(|lines| lines.insert(5, lines[4].clone())).0, 6);
    assert_eq!(changed(|lines| lines.push(lines[10].clone())).0, 12);
    fs::write(directory.journal(), lines.concat()).unwrap();
    assert_eq!(directory.ports().await, (1..=9).collect::<Vec<_>>());
}

#[tokio::test]
async fn removed_lines_of_a_journal_of_an_earlier_version_are_damage() {
    let (directory, mut lines) = written().await;
    // Without the member, the lines are shorter, and what was synchronised before them is too.
    let mut earlier = vec![lines.remove(0)];
    let mut length = earlier[0].len();
    for line in &lines {
        let line = Lines::new(&without_offset(line)[..]).next().unwrap().unwrap();
        let mut value: serde_json::Value = serde_json::from_slice(line.json().unwrap()).unwrap();
        value["synced"] = length.into();
        earlier.push(encode(&value));
        length += earlier.last().unwrap().len();
    }
    fs::write(directory.journal(), earlier.concat()).unwrap();
    assert_eq!(directory.copy().ports().await, (1..=9).collect::<Vec<_>>());
    earlier.remove(4);
    let (line, problem) = damage(&directory, &earlier);
    assert!(line == 5 && problem.contains("lines before it were removed or moved"), "{problem}");
}
