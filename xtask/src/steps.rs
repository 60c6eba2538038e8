//! Runs commands in order, prints each before it starts, and prints a summary at the end.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// One command to run, with its name in the summary.
pub(crate) struct Step {
    name: &'static str,
    /// `None` if the step cannot be run; the note says why.
    command: Option<Command>,
    /// What the reader of the summary has to know.
    note: Option<String>,
}

// === impl Step ===

impl Step {
    /// Runs the same cargo that runs this program.
    pub(crate) fn cargo(name: &'static str, arguments: &[&str]) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments);
        Self { name, command: Some(command), note: None }
    }

    /// A step that is not run; the summary says so.
    pub(crate) fn skipped(name: &'static str, why: String) -> Self {
        Self { name, command: None, note: Some(why) }
    }

    /// Adds a line to the summary.
    pub(crate) fn note(self, note: String) -> Self {
        Self { note: Some(note), ..self }
    }

    /// Sets a variable of the command's environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        if let Some(command) = &mut self.command {
            command.env(name, value);
        }
        self
    }

    /// Returns the command as it would be typed in a shell, without a changed `PATH`.
    pub(crate) fn shown(&self) -> String {
        let Some(command) = &self.command else {
            return format!("# {}", self.note.as_deref().unwrap_or_default());
        };
        let set = command.get_envs().filter(|(name, _)| *name != "PATH");
        let set = set.filter_map(|(name, value)| Some((name, value?)));
        let mut words: Vec<String> = set
            .map(|(name, value)| format!("{}='{}'", name.display(), value.display()))
            .chain(["cargo".to_owned()])
            .collect();
        words.extend(command.get_args().map(|argument| argument.display().to_string()));
        words.join(" ")
    }

    /// Runs the command, if there is one; a status other than 0 is an error.
    pub(crate) fn run(&mut self) -> Result<()> {
        let Some(command) = &mut self.command else { return Ok(()) };
        let program = command.get_program().display().to_string();
        let status = command.status().with_context(|| format!("cannot start {program}"))?;
        if !status.success() {
            bail!("{} failed ({status}): {}", self.name, self.shown());
        }
        Ok(())
    }
}

/// Runs the steps in order until one fails; the summary has the time of every step that ran.
pub(crate) fn run_all(steps: Vec<Step>) -> Result<()> {
    let mut summary = Vec::new();
    let mut outcome = Ok(());
    for mut step in steps {
        println!("\n=== {}: {}", step.name, step.shown());
        let started = Instant::now();
        outcome = step.run();
        let result = match (&step.command, &outcome) {
            (None, _) => "SKIPPED",
            (_, Ok(())) => "ok",
            (_, Err(_)) => "FAILED",
        };
        summary.push((step.name, result, started.elapsed(), step.note.take()));
        if outcome.is_err() {
            break;
        }
    }
    println!("\n=== summary");
    for (name, result, time, note) in summary {
        println!("{}", summary_line(name, result, time));
        note.iter().for_each(|note| println!("{:<10} {note}", ""));
    }
    outcome
}

fn summary_line(name: &str, result: &str, time: Duration) -> String {
    format!("{name:<10} {result:<7} {:>7.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, program: &str) -> Step {
        Step { name, command: Some(Command::new(program)), note: None }
    }

    #[test]
    fn first_failing_step_is_the_last_that_runs() {
        let steps = vec![step("good", "true"), step("bad", "false"), step("never", "no-such")];
        let error = run_all(steps).unwrap_err().to_string();
        assert!(error.starts_with("bad failed (exit status: 1)"), "{error}");
    }

    #[test]
    fn step_is_shown_as_it_is_typed_in_a_shell() {
        let step = Step::cargo("docs", &["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        let step = step.env("PATH", "/bin");
        assert_eq!(step.shown(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn step_that_is_skipped_says_why_and_is_no_failure() {
        let step = Step::skipped("advisories", "they were NOT CHECKED".to_owned());
        assert_eq!(step.shown(), "# they were NOT CHECKED");
        run_all(vec![step]).unwrap();
    }

    #[test]
    fn summary_line_has_name_result_and_time() {
        let line = summary_line("clippy", "ok", Duration::from_millis(12_340));
        assert_eq!(line, "clippy     ok         12.3 s");
    }
}
