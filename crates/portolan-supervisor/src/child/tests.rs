use std::os::fd::AsFd;

use tokio::io::AsyncReadExt;

use super::*;

fn launch(command: &str) -> Launch {
    Launch {
        command: command.parse().unwrap(),
        environment: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
        directory: None,
        terminal: Terminal::Captured,
    }
}

async fn output_of(child: &mut Child) -> String {
    let mut text = String::new();
    child.output().0.unwrap().read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_program_gets_its_environment_and_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = launch("sh -c 'echo $GREETING; pwd -P'");
    launch.directory = Some(folder.path().to_owned());
    let mut child = launch.start(&[]).unwrap();
    let folder = folder.path().canonicalize().unwrap();
    assert_eq!(output_of(&mut child).await, format!("hello\n{}\n", folder.display()));
    assert_eq!(exit_code(child.wait().await.unwrap()), 0);
}

#[tokio::test]
async fn only_the_descriptors_named_are_inherited() {
    let (kept, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let number = |file: &std::fs::File| std::os::fd::AsRawFd::as_raw_fd(file);
    let script = format!(
        "sh -c 'test -e /proc/self/fd/{} && test ! -e /proc/self/fd/{}'",
        number(&kept),
        number(&other)
    );
    let mut child = launch(&script).start(&[kept.as_fd()]).unwrap();
    assert_eq!(exit_code(child.wait().await.unwrap()), 0);
    let flags = rustix::io::fcntl_getfd(&kept).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC), "the descriptor stays open for the next child");
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_ended_with_all_it_started() {
    let script = r#"sh -c 'trap "" TERM; sleep 1000 & echo $!; wait; sleep 1000'"#;
    let mut child = launch(script).start(&[]).unwrap();
    let mut line = [0_u8; 16];
    let length = child.output().0.unwrap().read(&mut line).await.unwrap();
    let grandchild = std::str::from_utf8(&line[..length]).unwrap().trim().to_owned();

    let status = child.stop(Duration::from_millis(50)).await.unwrap();
    assert_eq!(exit_code(status), 128 + 9);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while is_running(&grandchild) {
        assert!(std::time::Instant::now() < deadline, "the grandchild is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_an_error() {
    let error = launch("no-such-program-here").start(&[]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// Whether the process is there and no zombie: its adoptive parent may be slow to wait for it.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
