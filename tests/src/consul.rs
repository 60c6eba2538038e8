//! A real Consul.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::env::TestEnv;
use crate::http;
use crate::process::Process;
use crate::programs;

/// The URL of its HTTP API.
pub const CONSUL: &str = "http://127.0.0.1:28500";
/// The port of its DNS.
pub const DNS: u16 = 28600;

/// The options of a registry over it.
#[must_use]
pub fn options() -> [String; 4] {
    let set = || "--set".to_owned();
    [
        set(),
        "service_registry.storage_backend=consul".to_owned(),
        set(),
        format!("service_registry.consul.url={CONSUL}"),
    ]
}

/// Starts a Consul server of its own, with its data in the directory of the test, and waits until it has a leader.
///
/// # Errors
/// Consul is not installed, ends, or does not answer.
pub fn start(env: &TestEnv) -> Result<Process> {
    let settings = json!({
        "server": true,
        "bootstrap": true,
        "node_name": "node-1",
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "data_dir": env.directory().join("consul-data"),
        "disable_update_check": true,
        "performance": { "raft_multiplier": 1 },
        "ports": {
            "http": 28500, "dns": DNS, "server": 28300, "serf_lan": 28301, "serf_wan": -1, "grpc": -1,
        },
    });
    std::fs::write(env.directory().join("consul.json"), settings.to_string())?;
    let mut command = Command::new(program()?);
    command.args(["agent", "-config-file", "consul.json"]).current_dir(env.directory());
    let mut consul = env.spawn("consul", command)?;
    consul.wait_until("Consul to have a leader", || {
        let nodes = http::get_json(&format!("{CONSUL}/v1/catalog/nodes"))?;
        ensure!(nodes.as_array().is_some_and(|nodes| !nodes.is_empty()), "{nodes}");
        Ok(())
    })?;
    Ok(consul)
}

/// Runs a command of Consul and returns its output.
///
/// # Errors
/// Consul is not installed, or the command fails.
pub fn ctl(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program()?);
    command.env("CONSUL_HTTP_ADDR", CONSUL).args(arguments);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the instances of a service that Consul considers healthy.
///
/// # Errors
/// Consul does not answer.
pub fn passing(name: &str) -> Result<Vec<Value>> {
    let answer = http::get_json(&format!("{CONSUL}/v1/health/service/{name}?passing"))?;
    answer.as_array().cloned().with_context(|| answer.to_string())
}

fn program() -> Result<std::path::PathBuf> {
    programs::find_tool("consul", "consul", "cargo xtask programs")
}
