use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::AsFd;

use rustix::io::FdFlags;
use tokio::io::AsyncReadExt;

use super::*;
use crate::CommandLine;

fn launch(command: &str) -> Launch {
    Launch {
        account: None,
        command: command.parse().unwrap(),
        environment: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
        directory: None,
        terminal: Terminal::Captured { closed_stdin: true },
        shim: None,
        marker: None,
    }
}

async fn output_of(child: &mut Child) -> String {
    let mut text = String::new();
    child.output().0.unwrap().read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn program_gets_its_environment_and_directory() {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = launch("sh -c 'echo $GREETING; pwd -P'");
    launch.directory = Some(folder.path().to_owned());
    let mut child = launch.start(&InheritedFds::default()).await.unwrap();
    let folder = folder.path().canonicalize().unwrap();
    assert_eq!(output_of(&mut child).await, format!("hello\n{}\n", folder.display()));
    assert_eq!(exit_code(child.wait().await.unwrap()), 0);
}

/// The descriptors that a program has: their numbers, and what they are of.
async fn descriptors(inherited: &InheritedFds<'_>) -> Vec<(i32, String)> {
    let command = "sh -c 'ls -l /proc/$$/fd'".parse().unwrap();
    let mut child = Launch { command, ..launch("x") }.start(inherited).await.unwrap();
    let output = output_of(&mut child).await;
    let read = |line: &str| {
        let (before, target) = line.split_once(" -> ")?;
        Some((before.rsplit(' ').next()?.parse().ok()?, target.to_owned()))
    };
    output.lines().filter_map(read).collect()
}

#[tokio::test]
async fn only_the_given_descriptors_are_inherited() {
    let [kept, other] = [(), ()].map(|()| tempfile::NamedTempFile::new().unwrap());
    let inherited = InheritedFds { kept: vec![kept.as_fd()], ..InheritedFds::default() };
    let inherited = descriptors(&inherited).await;
    let numbers = |file: &tempfile::NamedTempFile| {
        let path = file.path().to_str().unwrap();
        let of_file = inherited.iter().filter(|(_, target)| target == path);
        of_file.map(|(number, _)| *number).collect::<Vec<_>>()
    };
    let [number] = numbers(&kept)[..] else { panic!("{inherited:?}") };
    assert!(number >= 10, "{number} is one that scripts use");
    assert!(numbers(&other).is_empty(), "{inherited:?}");
    let flags = rustix::io::fcntl_getfd(kept.as_fd()).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC), "the descriptor stays open for the next child");
}

#[tokio::test]
async fn sockets_are_passed_as_in_sd_listen_fds() {
    let listeners: Vec<_> = (0..9).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let sockets = listeners.iter().map(|listener| ("web".to_owned(), listener.as_fd())).collect();
    let kept = tempfile::NamedTempFile::new().unwrap();
    let inherited = descriptors(&InheritedFds {
        sockets,
        share: None,
        kept: vec![kept.as_fd()],
        without_environment: false,
    })
    .await;
    for (number, listener) in (3..).zip(&listeners) {
        let target = format!("socket:[{}]", rustix::fs::fstat(listener).unwrap().st_ino);
        let found: Vec<_> = inherited.iter().filter(|(_, of)| *of == target).collect();
        assert_eq!(found, [&(number, target)]);
    }
    let kept = inherited.iter().find(|(_, of)| of == kept.path().to_str().unwrap());
    assert!(kept.is_some_and(|(number, _)| *number >= 12), "{inherited:?}");
}

#[tokio::test]
async fn listen_pid_is_the_process_id_of_the_program() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = vec![("web".to_owned(), listener.as_fd()), ("web".to_owned(), listener.as_fd())];
    let inherited = InheritedFds { sockets, share: None, kept: vec![], without_environment: false };
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID $$ $GREETING $1";
    let words = ["sh", "-c", script, "sh", "two  words"].map(str::to_owned).into();
    let command = CommandLine::new(words).unwrap();
    let mut child = Launch { command, ..launch("x") }.start(&inherited).await.unwrap();
    let pid = child.pid().unwrap();
    let expected = format!("2 web:web {pid} {pid} hello two words\n");
    assert_eq!(output_of(&mut child).await, expected);
}

#[tokio::test]
async fn program_whose_argument_names_the_socket_gets_no_listen_environment() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = vec![("web".to_owned(), listener.as_fd())];
    let inherited = InheritedFds { sockets, share: None, kept: vec![], without_environment: true };
    let script = "echo [$LISTEN_FDS$LISTEN_FDNAMES$LISTEN_PID] $(readlink /proc/$$/fd/3)";
    let command = CommandLine::new(["sh", "-c", script].map(str::to_owned).into()).unwrap();
    let mut child = Launch { command, ..launch("x") }.start(&inherited).await.unwrap();
    let inode = rustix::fs::fstat(&listener).unwrap().st_ino;
    assert_eq!(output_of(&mut child).await, format!("[] socket:[{inode}]\n"));
}

#[tokio::test]
async fn missing_program_with_sockets_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = vec![("web".to_owned(), listener.as_fd())];
    let inherited = InheritedFds { sockets, share: None, kept: vec![], without_environment: false };
    for (program, kind) in [
        ("no-such-program-here", io::ErrorKind::NotFound),
        ("./no-such-program-here", io::ErrorKind::NotFound),
        ("/etc/passwd", io::ErrorKind::PermissionDenied),
    ] {
        let error = launch(program).start(&inherited).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{program}");
    }
}

#[tokio::test]
async fn process_group_that_ignores_sigterm_is_killed() {
    let script = r#"sh -c 'trap "" TERM; sleep 1000 & echo $!; wait; sleep 1000'"#;
    let mut child = launch(script).start(&InheritedFds::default()).await.unwrap();
    let mut line = [0_u8; 16];
    let length = child.output().0.unwrap().read(&mut line).await.unwrap();
    let grandchild = std::str::from_utf8(&line[..length]).unwrap().trim().to_owned();

    let status = child.stop(StopSignal::TERM, Duration::from_millis(50)).await.unwrap();
    assert_eq!(exit_code(status), 128 + 9);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while is_running(&grandchild) {
        assert!(tokio::time::Instant::now() < deadline, "the grandchild is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn number_of_an_exited_leader_is_not_used_again_before_the_stop() {
    let script = "sh -c 'sleep 1000 >/dev/null 2>&1 & exit 3'";
    let mut child = launch(script).start(&InheritedFds::default()).await.unwrap();
    let pid = child.pid().unwrap();
    assert_eq!(exit_code(child.wait().await.unwrap()), 3);
    assert_eq!(exit_code(child.wait().await.unwrap()), 3, "the same answer again");
    let stat = portolan_host_facts::ProcessStat::read(pid).expect("it was not waited for");
    assert_eq!((stat.state, stat.group), ('Z', Some(pid)));
    assert!(portolan_host_facts::is_group_running(pid));
    assert_eq!(exit_code(child.stop(StopSignal::TERM, Duration::from_secs(20)).await.unwrap()), 3);
    assert!(!portolan_host_facts::is_group_running(pid));
    assert_eq!((child.pid(), portolan_host_facts::ProcessStat::read(pid)), (None, None));
    // Now the number may be that of a foreign group.
    child.signal(Signal::KILL);
}

#[tokio::test]
async fn end_by_a_signal_is_reported() {
    let mut child = launch("sh -c 'kill -9 $$'").start(&InheritedFds::default()).await.unwrap();
    assert_eq!(exit_code(child.wait().await.unwrap()), 128 + 9);
    let status = child.stop(StopSignal::TERM, Duration::from_secs(20)).await.unwrap();
    assert_eq!(exit_code(status), 128 + 9);
}

#[tokio::test]
async fn missing_program_is_an_error() {
    let error = launch("no-such-program-here").start(&InheritedFds::default()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

fn is_running(pid: &str) -> bool {
    let stat = portolan_host_facts::ProcessStat::read(pid.parse().unwrap());
    stat.is_some_and(|stat| stat.is_running())
}
