use std::time::Duration;

use portolan_core::{Registration, Ttl};
use portolan_host_facts::is_group_running;
use tokio::time::timeout;

use super::*;
use crate::{CheckSpec, LocalProgram};

/// Long enough that only a hang exceeds it.
const SOON: Duration = Duration::from_secs(20);

fn target() -> Target {
    let registration =
        Registration::new("api".parse().unwrap(), "127.0.0.1".parse().unwrap(), 8080);
    Target::new(registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH))
}

async fn run_on(text: &str, target: &Target) -> (HealthStatus, String) {
    let spec: CheckSpec = text.parse().unwrap();
    let check = spec.check().unwrap().check(target);
    let report = timeout(SOON, check).await.expect("in time");
    (report.status, report.reason)
}

async fn run(text: &str) -> (HealthStatus, String) {
    run_on(text, &target()).await
}

#[tokio::test]
async fn exit_status_decides() {
    for (script, status, reason) in [
        ("exit 0", HealthStatus::Passing, "sh: exit status: 0"),
        ("echo slow; exit 1", HealthStatus::Warning, "sh: exit status: 1: slow"),
        ("echo >&2; echo broken >&2; exit 2", HealthStatus::Critical, "sh: exit status: 2: broken"),
        ("kill -9 $$", HealthStatus::Critical, "sh: signal: 9 (SIGKILL)"),
        ("exec >&- 2>&-; exit 1", HealthStatus::Warning, "sh: exit status: 1"),
    ] {
        let text = format!("command:sh -c '{script}'");
        assert_eq!(run(&text).await, (status, reason.to_owned()), "{script}");
    }
    let (status, reason) = run("command:/nonexistent/check").await;
    assert_eq!(status, HealthStatus::Critical);
    assert!(reason.starts_with("cannot run /nonexistent/check: "), "{reason}");
}

#[tokio::test]
async fn command_gets_the_address_and_the_directory_of_its_instance() {
    let text = "command:sh -c 'echo $0 $1 $PWD' {host} port={port}";
    let directory = std::path::PathBuf::from("/proc");
    let program = LocalProgram::new(std::process::id()).directory(directory);
    let target = Target { program: Some(program), ..target() };
    let reason = "sh: exit status: 0: 127.0.0.1 port=8080 /proc".to_owned();
    assert_eq!(run_on(text, &target).await, (HealthStatus::Passing, reason));
}

#[tokio::test]
async fn long_output_is_bounded_and_does_not_block_the_command() {
    let (status, reason) = run("command:sh -c 'head -c 1000000 /dev/zero | tr \"\\0\" x'").await;
    assert_eq!(status, HealthStatus::Passing);
    assert!(reason.len() < 300, "{reason}");
}

/// Waits until no process of the group of the command runs, which has written its id into the file.
async fn group_in(file: &std::path::Path) -> u32 {
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.ends_with('\n') {
            return text.trim().parse().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn deadline_kills_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("echo $$ > {}; sleep 1000 & wait", file.display());
    let spec: CheckSpec = format!("command:sh -c '{script}'").parse().unwrap();
    let target = target();
    let group = tokio::select! {
        report = spec.check().unwrap().check(&target) => panic!("{report:?}"),
        group = group_in(&file) => group,
    };
    let ended = async {
        while is_group_running(group) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, ended).await.expect("the group ends");
}

#[tokio::test]
async fn what_a_command_leaves_running_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("echo $$ > {}; sleep 1000 & exit 0", file.display());
    assert_eq!(run(&format!("command:sh -c '{script}'")).await.0, HealthStatus::Passing);
    let group = group_in(&file).await;
    let ended = async {
        while is_group_running(group) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, ended).await.expect("the group ends");
}

#[test]
fn invalid_commands_are_refused() {
    for (text, part) in [
        ("command", "the program is missing"),
        ("command:", "the program is missing"),
        ("command:''", "the program is missing"),
        ("command:sh -c 'x", "a quotation mark is not closed"),
        ("command:sh#status=200", "\"status\" is not an option of this check"),
    ] {
        let error = text.parse::<CheckSpec>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn nobody_can_let_a_registry_run_a_command() {
    let kinds = crate::CheckKinds::built_in();
    for url in [
        "command://127.0.0.1/bin/true",
        "command:true",
        "process://127.0.0.1",
        "all://127.0.0.1/tcp",
        "any:tcp",
    ] {
        assert!(kinds.parse_url(url).is_err(), "{url}");
    }
    let spec: CheckSpec = "command:true".parse().unwrap();
    assert_eq!(spec.health_url(&"127.0.0.1".parse().unwrap(), 80), None);
    assert!(!spec.connects());
}
