//! What to start: a program with its arguments, in which `{port}` stands for the leased port.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::placeholders::{self, Places};

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Vec<String>")]
pub struct CommandLine(Vec<String>);

/// Why there is nothing to start. Retrying does not help: the command must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// Not a word in it.
    #[error("the command is empty; name the program to start")]
    Empty,
    /// A quote that is never closed.
    #[error("the command {0:?} has a quote that is not closed")]
    Quote(String),
    /// A character that no argument can carry.
    #[error("the command has a NUL character, which no program can be given")]
    Nul,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a command: a text such as \"redis-server --port {port}\", or a list"
)]
enum Written {
    Text(String),
    List(Vec<String>),
}

// === impl CommandLine ===

impl CommandLine {
    /// A command line of these words, the program first.
    pub fn new(words: Vec<String>) -> Result<Self, InvalidCommand> {
        if words.iter().any(|word| word.contains('\0')) {
            return Err(InvalidCommand::Nul);
        }
        match words.first().is_none_or(String::is_empty) {
            true => Err(InvalidCommand::Empty),
            false => Ok(Self(words)),
        }
    }

    /// The program, as it is looked for in `PATH`.
    pub fn program(&self) -> &str {
        &self.0[0]
    }

    /// The program's own name, without the folders before it.
    pub fn program_name(&self) -> &str {
        let program = self.program();
        program.rsplit('/').next().unwrap_or(program)
    }

    /// Every word after the program.
    pub fn arguments(&self) -> &[String] {
        &self.0[1..]
    }

    /// Every word, the program's first.
    pub(crate) fn words(&self) -> &[String] {
        &self.0
    }

    /// Whether a port or a socket stands somewhere in it.
    pub fn mentions_port(&self) -> bool {
        self.0.iter().any(|word| placeholders::is_in(word))
    }

    /// The same with the values in their places.
    pub fn filled(&self, places: &Places) -> Self {
        Self(self.0.iter().map(|word| places.fill(word)).collect())
    }
}

impl FromStr for CommandLine {
    type Err = InvalidCommand;

    /// Splits the text as a shell does, quotes and backslashes included; no shell is run.
    fn from_str(text: &str) -> Result<Self, InvalidCommand> {
        let words = shell_words::split(text);
        Self::new(words.map_err(|_| InvalidCommand::Quote(text.chars().take(80).collect()))?)
    }
}

impl TryFrom<Written> for CommandLine {
    type Error = InvalidCommand;
    fn try_from(written: Written) -> Result<Self, InvalidCommand> {
        match written {
            Written::Text(text) => text.parse(),
            Written::List(words) => Self::new(words),
        }
    }
}

impl From<CommandLine> for Vec<String> {
    fn from(command: CommandLine) -> Self {
        command.0
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shell_words::join(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_as_a_shell_would() {
        let command: CommandLine = r#"sh -c 'echo "a b"' \$x"#.parse().unwrap();
        assert_eq!(command.program(), "sh");
        assert_eq!(command.arguments(), ["-c", "echo \"a b\"", "$x"]);
        assert_eq!(command.to_string().parse::<CommandLine>().unwrap(), command);
    }

    #[test]
    fn the_port_goes_wherever_it_is_asked_for() {
        let command: CommandLine =
            "redis-server --port {port} --pid /run/{port}.pid".parse().unwrap();
        assert!(command.mentions_port());
        assert_eq!(
            command.filled(&Places::of_port(6380)).to_string(),
            "redis-server --port 6380 --pid /run/6380.pid"
        );
    }

    #[test]
    fn the_programs_name_is_its_last_part() {
        let command: CommandLine = "/usr/lib/postgresql/15/bin/postgres -D x".parse().unwrap();
        assert_eq!(command.program_name(), "postgres");
    }

    #[test]
    fn nothing_to_start_is_said_so() {
        assert_eq!("".parse::<CommandLine>(), Err(InvalidCommand::Empty));
        assert!(matches!("echo 'a".parse::<CommandLine>(), Err(InvalidCommand::Quote(_))));
        assert_eq!(CommandLine::new(vec!["a\0".into()]), Err(InvalidCommand::Nul));
    }

    #[test]
    fn a_file_gives_a_text_or_a_list() {
        let text: CommandLine = serde_saphyr::from_str("sleep 5").unwrap();
        let list: CommandLine = serde_saphyr::from_str("[sleep, '5']").unwrap();
        assert_eq!(text, list);
        let error = serde_saphyr::from_str::<CommandLine>("{a: b}").unwrap_err().to_string();
        assert!(error.contains("a command: a text such as"), "{error}");
    }
}
