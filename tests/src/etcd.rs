//! A real etcd.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::env::TestEnv;
use crate::process::Process;
use crate::programs;

/// The URL at which it serves clients.
pub const ETCD: &str = "http://127.0.0.1:23790";
/// The URL at which it would serve other members.
const PEER: &str = "http://127.0.0.1:23800";

/// Starts an etcd of one member, with its data in the directory of the test, and waits until it answers.
///
/// # Errors
/// etcd is not installed, ends, or does not answer.
pub fn start(env: &TestEnv) -> Result<Process> {
    let mut command = Command::new(programs::find("etcd", "etcd-server")?);
    command
        .args(["--name", "default", "--data-dir", "etcd-data", "--logger", "zap"])
        .args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD])
        .args(["--listen-peer-urls", PEER, "--initial-advertise-peer-urls", PEER])
        .args(["--initial-cluster", &format!("default={PEER}")])
        .current_dir(env.directory());
    let mut etcd = env.spawn("etcd", command)?;
    etcd.wait_until("etcd to answer", || ctl(&["endpoint", "health"]))?;
    Ok(etcd)
}

/// Runs etcdctl and returns its output.
///
/// # Errors
/// etcdctl is not installed, or fails.
pub fn ctl(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(programs::find("etcdctl", "etcd-client")?);
    command.env("ETCDCTL_API", "3").args(["--endpoints", ETCD]).args(arguments);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
