//! Has Prometheus itself judge what `/metrics` says.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::programs;

/// Runs `promtool check metrics` over a page of metrics.
///
/// # Errors
/// What promtool finds wrong with it.
pub fn check(page: &str) -> Result<()> {
    let mut promtool = Command::new(programs::find("promtool", "prometheus")?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start promtool")?;
    // Dropped at the end of the statement, so that promtool sees the end of its input.
    promtool.stdin.take().context("no way to promtool")?.write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success() && said.is_empty(), "promtool, {}:\n{said}", output.status);
    Ok(())
}

/// The names of the metric families that a page declares.
pub fn families(page: &str) -> Vec<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect()
}

/// The value of a sample, named with its labels as the page writes it; 0 where it is not there.
pub fn value(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}
