//! Helm, which renders charts.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::programs;

/// Returns the objects that the chart of the project renders with these values, each `NAME=VALUE`.
///
/// # Errors
/// Helm is missing, or refuses the chart or the values.
pub fn render(values: &[&str]) -> Result<Vec<Value>> {
    let output = helm(&["template", "registry"], &["--namespace", "portolan"], values)?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm template {values:?}: {error}");
    let text = String::from_utf8(output.stdout)?;
    let documents = text.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let documents = documents.filter(|text| !text.trim().is_empty());
    documents.map(|text| serde_saphyr::from_str(text).with_context(|| text.to_owned())).collect()
}

/// Returns the message with which Helm refuses these values.
///
/// # Errors
/// Helm is missing, or accepts them.
pub fn refusal(values: &[&str]) -> Result<String> {
    let output = helm(&["template", "registry"], &[], values)?;
    ensure!(!output.status.success(), "{values:?} was accepted");
    Ok(String::from_utf8(output.stderr)?)
}

/// Has Helm look for what is unusual in the chart.
///
/// # Errors
/// Helm is missing, or finds something.
pub fn lint() -> Result<()> {
    let output = helm(&["lint", "--strict"], &[], &[])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Installs or upgrades the release `registry` of the chart in the namespace `portolan`, as `command` says.
///
/// # Errors
/// Helm is missing, or the cluster refuses.
pub fn apply(kubeconfig: &Path, command: &str, values: &[&str]) -> Result<()> {
    let kubeconfig = kubeconfig.display().to_string();
    let options = ["--namespace", "portolan", "--kubeconfig", &kubeconfig];
    succeeded(&helm(&[command, "registry"], &options, values)?, command)
}

/// Removes the release.
///
/// # Errors
/// Helm is missing, or the cluster refuses.
pub fn uninstall(kubeconfig: &Path) -> Result<()> {
    let mut helm = program()?;
    helm.args(["uninstall", "registry", "--namespace", "portolan", "--kubeconfig"]).arg(kubeconfig);
    succeeded(&helm.output()?, "uninstall")
}

fn succeeded(output: &Output, command: &str) -> Result<()> {
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm {command}: {error}");
    Ok(())
}

fn helm(command: &[&str], options: &[&str], values: &[&str]) -> Result<Output> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/helm/portolan");
    let mut helm = program()?;
    helm.args(command).arg(chart).args(options);
    for value in values {
        helm.args(["--set", value]);
    }
    Ok(helm.output()?)
}

fn program() -> Result<Command> {
    let mut helm = Command::new(programs::find_tool("helm", "helm", "cargo xtask programs")?);
    // Nothing of the user's own repositories and plugins.
    helm.env_clear().env("HOME", "/nonexistent");
    Ok(helm)
}
