//! A command line as a person writes it in one text.

use std::fmt;
use std::str::FromStr;

use portolan_core::quoted;

/// A program and its arguments, split as a POSIX shell does, with quotation marks and backslashes. No shell is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandWords {
    program: String,
    arguments: Vec<String>,
}

/// A text that is no command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWords {
    /// There is no program.
    #[error("the program is missing")]
    NoProgram,
    /// A quotation mark has no other one.
    #[error("a quotation mark is not closed in {0}")]
    Quote(String),
}

// === impl CommandWords ===

impl CommandWords {
    /// Returns the program.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Returns whether a word contains this placeholder.
    pub fn mentions(&self, place: &str) -> bool {
        self.program.contains(place) || self.arguments.iter().any(|word| word.contains(place))
    }

    /// Creates the process, with each placeholder replaced by its value.
    pub fn command(&self, places: &[(&str, &str)]) -> tokio::process::Command {
        let filled = |text: &String| {
            places.iter().fold(text.clone(), |text, (place, value)| text.replace(place, value))
        };
        let mut command = tokio::process::Command::new(filled(&self.program));
        command.args(self.arguments.iter().map(filled));
        command
    }
}

impl FromStr for CommandWords {
    type Err = InvalidWords;

    fn from_str(text: &str) -> Result<Self, InvalidWords> {
        let words = shell_words::split(text).map_err(|_| InvalidWords::Quote(quoted(text)))?;
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program = program.ok_or(InvalidWords::NoProgram)?;
        Ok(Self { program, arguments: words.collect() })
    }
}

impl fmt::Display for CommandWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        f.write_str(&shell_words::join(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_split_as_a_shell_does() {
        let words: CommandWords = r#"sh -c 'echo "a b"' {file}"#.parse().unwrap();
        assert_eq!(words.program(), "sh");
        assert!(words.mentions("{file}") && !words.mentions("{port}"));
        assert_eq!(words.to_string().parse::<CommandWords>().unwrap(), words);
        let command = words.command(&[("{file}", "a b")]);
        let arguments: Vec<_> = command.as_std().get_args().collect();
        assert_eq!(arguments, ["-c", "echo \"a b\"", "a b"]);
    }

    #[test]
    fn text_without_a_program_or_with_an_open_quotation_mark_is_refused() {
        for text in ["", "  ", "''"] {
            assert_eq!(text.parse::<CommandWords>(), Err(InvalidWords::NoProgram), "{text:?}");
        }
        let error = "sh -c 'x".parse::<CommandWords>().unwrap_err();
        assert_eq!(error.to_string(), "a quotation mark is not closed in \"sh -c 'x\"");
    }
}
