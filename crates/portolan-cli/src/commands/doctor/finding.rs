//! What a check reports.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::exit::Failure;

/// One result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The result in one sentence.
    what: String,
    /// The values that the result is based on.
    evidence: String,
    /// What resolves the problem, as an imperative.
    remedy: Option<String>,
    /// Commands that resolve the problem when they are run as root.
    commands: Vec<String>,
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// No problem.
    Ok,
    /// Works, but not always or not as expected.
    Warning,
    /// Does not work.
    Error,
}

// === impl Finding ===

impl Finding {
    /// No problem.
    pub(super) fn ok(what: &str, evidence: impl fmt::Display) -> Self {
        Self::new(Severity::Ok, what, evidence, None)
    }

    /// It works, but not always or not as expected.
    pub(super) fn warning(what: &str, evidence: impl fmt::Display, remedy: &str) -> Self {
        Self::new(Severity::Warning, what, evidence, Some(remedy))
    }

    /// It does not work.
    pub(super) fn error(what: &str, evidence: impl fmt::Display, remedy: &str) -> Self {
        Self::new(Severity::Error, what, evidence, Some(remedy))
    }

    /// A failure of this program: its message is the evidence.
    pub(super) fn from_failure(what: &str, failure: &Failure) -> Self {
        Self::new(Severity::Error, what, &failure.message, failure.remedy.as_deref())
    }

    /// Adds a command that resolves the problem.
    pub(super) fn command(mut self, command: String) -> Self {
        self.commands.push(command);
        self
    }

    fn new(
        severity: Severity,
        what: &str,
        evidence: impl fmt::Display,
        remedy: Option<&str>,
    ) -> Self {
        let (what, evidence, remedy) =
            (what.to_owned(), evidence.to_string(), remedy.map(str::to_owned));
        Self { severity, what, evidence, remedy, commands: Vec::new() }
    }

    /// Formats the finding as lines of text.
    pub(super) fn to_text(&self, check: &str) -> String {
        let Self { severity, what, evidence, remedy, commands } = self;
        let mut text = format!("{severity:<7}  {check:<17} {what}: {evidence}");
        // Writing to a string does not fail.
        if let Some(remedy) = remedy {
            _ = write!(text, "\n         remedy: {remedy}");
        }
        for command in commands {
            _ = write!(text, "\n           {command}");
        }
        text
    }
}

// === impl Severity ===

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_each_command_on_its_own_line() {
        let finding =
            Finding::warning("the limit is low", "64", "as root:").command("ulimit -n 4096".into());
        let lines: Vec<String> = finding.to_text("pipe").lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "warning  pipe              the limit is low: 64");
        assert_eq!(lines[1].trim(), "remedy: as root:");
        assert_eq!(lines[2].trim(), "ulimit -n 4096");
    }

    #[test]
    fn failure_becomes_evidence_and_remedy() {
        let failure = Failure::failed("no space left").remedy("delete files");
        let finding = Finding::from_failure("the disk is full", &failure);
        assert_eq!(finding.evidence, "no space left");
        assert_eq!(finding.remedy.as_deref(), Some("delete files"));
    }
}
