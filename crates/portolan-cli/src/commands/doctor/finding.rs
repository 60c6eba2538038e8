//! What a check reports.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// One thing that a check looked at: how it is, what was seen, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// How it is, in one sentence.
    what: String,
    /// What was seen.
    evidence: String,
    /// What to do; none where nothing need be done.
    remedy: Option<String>,
    /// Commands that do it, to be run as root, where there are some.
    commands: Vec<String>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// Works, but not always or not as one would expect.
    Warning,
    /// Does not work.
    Error,
}

// === impl Finding ===

impl Finding {
    /// All is well.
    pub(super) fn ok(what: &str, evidence: impl fmt::Display) -> Self {
        Self::new(Severity::Ok, what, evidence, None)
    }

    /// It works, but not always or not as one would expect.
    pub(super) fn warning(what: &str, evidence: impl fmt::Display, remedy: &str) -> Self {
        Self::new(Severity::Warning, what, evidence, Some(remedy))
    }

    /// It does not work.
    pub(super) fn error(what: &str, evidence: impl fmt::Display, remedy: &str) -> Self {
        Self::new(Severity::Error, what, evidence, Some(remedy))
    }

    /// An error of the library. Its text has the remedy behind the first semicolon.
    pub(super) fn of(severity: Severity, what: &str, error: &impl fmt::Display) -> Self {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((evidence, remedy)) => Self::new(severity, what, evidence, Some(remedy)),
            None => Self::new(severity, what, text, None),
        }
    }

    /// The same with a command that mends it.
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

    /// Everything as lines, the most important first.
    pub(super) fn for_people(&self, check: &str) -> String {
        let Self { severity, what, evidence, remedy, commands } = self;
        let mut text = format!("{severity:<7}  {check:<14} {what}: {evidence}");
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
    fn a_finding_for_people_has_each_command_on_a_line_of_its_own() {
        let finding = Finding::warning("it leaks", "a drop", "as root:").command("mend it".into());
        let lines: Vec<String> = finding.for_people("pipe").lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "warning  pipe           it leaks: a drop");
        assert_eq!(lines[1].trim(), "remedy: as root:");
        assert_eq!(lines[2].trim(), "mend it");
    }

    #[test]
    fn an_error_is_parted_into_what_was_seen_and_what_to_do() {
        let found = Finding::of(Severity::Error, "broken", &"no room; make some; then try again");
        assert_eq!(found.evidence, "no room");
        assert_eq!(found.remedy.as_deref(), Some("make some; then try again"));
        assert_eq!(Finding::of(Severity::Error, "broken", &"no room").remedy, None);
    }
}
