//! The command line of a service: a program and its arguments, with placeholders such as `{port}`.

use std::fmt;
use std::str::FromStr;

use portolan_core::quoted;
use serde::{Deserialize, Serialize};

use crate::placeholders::{self, Placeholders};

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Vec<String>")]
pub struct CommandLine(Vec<String>);

/// Why a command line is invalid. Permanent: the command must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// There is no program.
    #[error("command is empty: expected a program")]
    Empty,
    /// A quotation mark is not closed.
    #[error("command {0} has an unclosed quotation mark")]
    Quote(String),
    /// An argument contains NUL, which execve(2) cannot pass.
    #[error("command contains a NUL character")]
    Nul,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a command: text such as \"redis-server --port {port}\", or a list")]
enum Written {
    Text(String),
    List(Vec<String>),
}

// === impl CommandLine ===

impl CommandLine {
    /// Creates a command line from its words, the program first.
    pub fn new(words: Vec<String>) -> Result<Self, InvalidCommand> {
        if words.iter().any(|word| word.contains('\0')) {
            return Err(InvalidCommand::Nul);
        }
        match words.first().is_none_or(String::is_empty) {
            true => Err(InvalidCommand::Empty),
            false => Ok(Self(words)),
        }
    }

    /// Returns the program, which is looked up in `PATH` if it contains no slash.
    pub fn program(&self) -> &str {
        &self.0[0]
    }

    /// Returns the file name of the program, without its directory.
    pub fn program_name(&self) -> &str {
        let program = self.program();
        program.rsplit('/').next().unwrap_or(program)
    }

    /// Returns the arguments, without the program.
    pub fn arguments(&self) -> &[String] {
        &self.0[1..]
    }

    /// Returns the program and its arguments.
    pub(crate) fn words(&self) -> &[String] {
        &self.0
    }

    /// Returns the command with further arguments.
    pub(crate) fn with(&self, arguments: &[String]) -> Self {
        Self([&self.0, arguments].concat())
    }

    /// Returns whether a word contains a placeholder for a port or a socket.
    pub fn mentions_port(&self) -> bool {
        self.0.iter().any(|word| placeholders::has_placeholder(word))
    }

    /// Returns the command line with every placeholder replaced by its value.
    pub fn substituted(&self, places: &Placeholders) -> Self {
        Self(self.0.iter().map(|word| places.substitute(word)).collect())
    }
}

impl FromStr for CommandLine {
    type Err = InvalidCommand;

    /// Splits the text like a POSIX shell, including quotation marks and backslashes. No shell is
    /// started.
    fn from_str(text: &str) -> Result<Self, InvalidCommand> {
        let words = shell_words::split(text);
        Self::new(words.map_err(|_| InvalidCommand::Quote(quoted(text)))?)
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
    fn text_is_split_like_a_shell_does() {
        let command: CommandLine = r#"sh -c 'echo "a b"' \$x"#.parse().unwrap();
        assert_eq!(command.program(), "sh");
        assert_eq!(command.arguments(), ["-c", "echo \"a b\"", "$x"]);
        assert_eq!(command.to_string().parse::<CommandLine>().unwrap(), command);
    }

    #[test]
    fn placeholders_are_replaced_in_every_argument() {
        let command: CommandLine =
            "redis-server --port {port} --pid /run/{port}.pid".parse().unwrap();
        assert!(command.mentions_port());
        assert_eq!(
            command.substituted(&Placeholders::for_port(6380)).to_string(),
            "redis-server --port 6380 --pid /run/6380.pid"
        );
    }

    #[test]
    fn program_name_has_no_directory() {
        let command: CommandLine = "/usr/lib/postgresql/15/bin/postgres -D x".parse().unwrap();
        assert_eq!(command.program_name(), "postgres");
    }

    #[test]
    fn invalid_commands_are_rejected() {
        assert_eq!("".parse::<CommandLine>(), Err(InvalidCommand::Empty));
        assert!(matches!("echo 'a".parse::<CommandLine>(), Err(InvalidCommand::Quote(_))));
        assert_eq!(CommandLine::new(vec!["a\0".into()]), Err(InvalidCommand::Nul));
    }

    #[test]
    fn command_is_deserialized_from_text_or_a_list() {
        let text: CommandLine = serde_saphyr::from_str("sleep 5").unwrap();
        let list: CommandLine = serde_saphyr::from_str("[sleep, '5']").unwrap();
        assert_eq!(text, list);
        let error = serde_saphyr::from_str::<CommandLine>("{a: b}").unwrap_err().to_string();
        assert!(error.contains("a command: text such as"), "{error}");
    }
}
