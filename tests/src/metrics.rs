//! Validates `/metrics` with Prometheus's own tool.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::programs;

/// Runs `promtool check metrics` on a page of metrics.
///
/// # Errors
/// promtool reports a problem.
pub fn check(page: &str) -> Result<()> {
    let mut promtool = Command::new(programs::find("promtool", "prometheus")?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start promtool")?;
    // The pipe is closed at the end of the statement, so that promtool reads the end of file.
    promtool.stdin.take().context("promtool has no standard input")?.write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    ensure!(output.status.success() && text.is_empty(), "promtool, {}:\n{text}", output.status);
    Ok(())
}

/// Returns the names of the metric families of a page.
pub fn families(page: &str) -> Vec<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect()
}

/// Returns the value of a sample, named with its labels as on the page; 0 if it is absent.
pub fn value(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}
