//! A real etcd.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::env::TestEnv;
use crate::hosts::Host;
use crate::process::Process;
use crate::programs;

/// The URL at which the one of [`start`] serves clients.
pub const ETCD: &str = "http://127.0.0.1:23790";
/// The URL at which it would serve other members.
const PEER: &str = "http://127.0.0.1:23800";

/// The options of a registry over it.
#[must_use]
pub fn options() -> [String; 4] {
    let set = || "--set".to_owned();
    [
        set(),
        "service_registry.storage_backend=etcd".to_owned(),
        set(),
        format!("service_registry.etcd.endpoints=[\"{ETCD}\"]"),
    ]
}

/// Starts an etcd of one member, with its data in the directory of the test, and waits until it answers.
///
/// # Errors
/// etcd is not installed, ends, or does not answer.
pub fn start(env: &TestEnv) -> Result<Process> {
    let cluster = format!("default={PEER}");
    let mut command = Command::new(programs::find("etcd", "etcd-server")?);
    command.args(arguments("default", ETCD, PEER, &cluster)).current_dir(env.directory());
    let mut etcd = env.spawn("etcd", command)?;
    etcd.wait_until("etcd to answer", || ctl(&["endpoint", "health"]))?;
    Ok(etcd)
}

/// Starts the member of a cluster on a host. A member that ran before continues with its data.
///
/// # Errors
/// etcd is not installed.
pub fn start_member(env: &TestEnv, host: &Host<'_>, members: &[&Host<'_>]) -> Result<Process> {
    let peer = |host: &Host<'_>| format!("http://{}:2380", host.address());
    let cluster: Vec<_> =
        members.iter().map(|member| format!("{}={}", member.name(), peer(member))).collect();
    let arguments = arguments(host.name(), &url(host), &peer(host), &cluster.join(","));
    let program = programs::find("etcd", "etcd-server")?.display().to_string();
    let command: Vec<_> = ["env".to_owned(), "-C".to_owned()]
        .into_iter()
        .chain([env.directory().display().to_string(), program])
        .chain(arguments)
        .collect();
    host.spawn("etcd", &command)
}

/// The URL at which the member on a host serves clients.
pub fn url(host: &Host<'_>) -> String {
    format!("http://{}:2379", host.address())
}

fn arguments(name: &str, client: &str, peer: &str, cluster: &str) -> Vec<String> {
    [
        ["--name", name],
        ["--data-dir", &format!("etcd-{name}")],
        ["--listen-client-urls", client],
        ["--advertise-client-urls", client],
        ["--listen-peer-urls", peer],
        ["--initial-advertise-peer-urls", peer],
        ["--initial-cluster", cluster],
        ["--logger", "zap"],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect()
}

/// Runs etcdctl against the one of [`start`] and returns its output.
///
/// # Errors
/// etcdctl is not installed, or fails.
pub fn ctl(arguments: &[&str]) -> Result<String> {
    ctl_at(ETCD, arguments)
}

/// Runs etcdctl against these URLs, separated by commas, and returns its output.
///
/// # Errors
/// etcdctl is not installed, or fails.
pub fn ctl_at(endpoints: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(programs::find("etcdctl", "etcd-client")?);
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoints]).args(arguments);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
