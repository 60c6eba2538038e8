use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use std::fs;

use super::*;

fn to(pid_file: &Path) -> AfterChange {
    AfterChange::Signal { signal: Signal::TERM, pid_file: pid_file.to_owned() }
}

#[tokio::test]
async fn process_of_the_file_gets_the_signal() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let mut process = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    fs::write(&pid_file, format!("{}\n", process.id())).unwrap();
    to(&pid_file).run(Path::new("file")).await.unwrap();
    assert_eq!(process.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    let error = to(&pid_file).run(Path::new("file")).await.unwrap_err();
    assert!(error.contains("No such process"), "{error}");
}

#[tokio::test]
async fn file_without_a_process_id_signals_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    for text in ["", "x", "0", "1", "-1", "99999999999"] {
        fs::write(&pid_file, text).unwrap();
        let error = to(&pid_file).run(Path::new("file")).await.unwrap_err();
        assert!(error.contains("is no process id"), "{text}: {error}");
    }
}

#[tokio::test]
async fn command_gets_the_path_and_its_failure_has_a_reason() {
    let words: CommandWords = "sh -c 'echo no $0 >&2; exit 3' {file}".parse().unwrap();
    let error = AfterChange::Command(words).run(Path::new("a b")).await.unwrap_err();
    assert_eq!(error, "exit status: 3: no a b");
}

#[test]
fn signals_are_named_with_and_without_sig() {
    for text in ["HUP", "SIGHUP", "hup"] {
        assert_eq!(parse_signal(text), Ok(Signal::HUP));
    }
    assert!(parse_signal("KILL").is_err());
}
