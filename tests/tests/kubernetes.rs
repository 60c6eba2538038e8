//! The bridge to a cluster, against a real API server.

mod chart;
mod export;
mod failures;
mod import;
mod load;
mod manifests;
mod pods;
mod release;
mod strategy;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::{ADMIN, ControlPlane};
use portolan_tests::{Process, REGISTRY, TestEnv, http, wait_for};
use serde_json::{Value, json};

/// Starts `portolan kubernetes import` with the credentials of this token.
fn import(
    env: &TestEnv,
    plane: &ControlPlane<'_>,
    token: &str,
    options: &[&str],
) -> Result<Process> {
    let kubeconfig = plane.kubeconfig(token)?.display().to_string();
    let import = ["kubernetes", "import", "--kubeconfig", &kubeconfig];
    env.portolan(&import)?.args(options).spawn("import")
}

/// Starts it as the administrator, and waits until it follows everything.
fn started(env: &TestEnv, plane: &ControlPlane<'_>, options: &[&str]) -> Result<Process> {
    let mut import = import(env, plane, ADMIN, options)?;
    import.wait_for_line("Registry reached")?;
    Ok(import)
}

/// Returns the instances of a service in a scope.
fn instances(scope: &str, name: &str) -> Result<Vec<Value>> {
    let answer = http::get_json(&format!("{REGISTRY}/api/v1/services?name={name}&scope={scope}"))?;
    answer["services"].as_array().cloned().with_context(|| answer.to_string())
}

/// Waits until a service has exactly these addresses.
fn wait_addresses(scope: &str, name: &str, expected: &[&str]) -> Result<()> {
    wait_for(&format!("{name} at {expected:?}"), || {
        let found = instances(scope, name)?;
        let mut hosts: Vec<_> = found.iter().filter_map(|it| it["host"].as_str()).collect();
        hosts.sort_unstable();
        ensure!(hosts == expected, "{found:?}");
        Ok(())
    })
}

fn ready() -> Value {
    json!({"ready": true})
}
