//! Runs commands one after the other, says what it does, and sums up at the end.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// One command to run, and the name it goes by in the summary.
pub(crate) struct Step {
    name: &'static str,
    command: Command,
}

// === impl Step ===

impl Step {
    /// A call of the cargo that runs this program.
    pub(crate) fn cargo(name: &'static str, arguments: &[&str]) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments);
        Self { name, command }
    }

    /// Sets a variable of the command's environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The command as a person would type it.
    pub(crate) fn shown(&self) -> String {
        let set = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut words: Vec<String> = set
            .map(|(name, value)| format!("{}='{}'", name.display(), value.display()))
            .chain(["cargo".to_owned()])
            .collect();
        words.extend(self.command.get_args().map(|argument| argument.display().to_string()));
        words.join(" ")
    }

    fn run(&mut self) -> Result<()> {
        let program = self.command.get_program().display().to_string();
        let status = self.command.status().with_context(|| format!("cannot start {program}"))?;
        match status.success() {
            true => Ok(()),
            false => bail!("{} failed ({status}): {}", self.name, self.shown()),
        }
    }
}

/// Runs the steps in order and stops at the first that fails; the summary names every step that
/// ran, with its time.
pub(crate) fn run_all(steps: Vec<Step>) -> Result<()> {
    let mut summary = Vec::new();
    let mut outcome = Ok(());
    for mut step in steps {
        println!("\n=== {}: {}", step.name, step.shown());
        let started = Instant::now();
        outcome = step.run();
        summary.push((step.name, outcome.is_ok(), started.elapsed()));
        if outcome.is_err() {
            break;
        }
    }
    println!("\n=== summary");
    for (name, passed, time) in summary {
        println!("{}", summary_line(name, passed, time));
    }
    outcome
}

fn summary_line(name: &str, passed: bool, time: Duration) -> String {
    let word = if passed { "ok" } else { "FAILED" };
    format!("{name:<10} {word:<7} {:>7.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, program: &str) -> Step {
        Step { name, command: Command::new(program) }
    }

    #[test]
    fn the_first_step_that_fails_is_the_last_that_runs() {
        let steps = vec![step("good", "true"), step("bad", "false"), step("never", "no-such")];
        let error = run_all(steps).unwrap_err().to_string();
        assert!(error.starts_with("bad failed (exit status: 1)"), "{error}");
    }

    #[test]
    fn a_step_is_shown_as_a_person_would_type_it() {
        let step = Step::cargo("docs", &["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(step.shown(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn the_summary_has_a_line_for_each_step() {
        let line = summary_line("clippy", true, Duration::from_millis(12_340));
        assert_eq!(line, "clippy     ok         12.3 s");
    }
}
