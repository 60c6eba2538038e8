//! The settings `command` and `shell` of a service.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};

use crate::CommandLine;
use crate::command::InvalidCommand;

/// The shell of `shell: true`.
const SHELL: &str = "/bin/sh";

/// Programs that take a command as an argument, so that the syntax of a shell in it is for them.
const TAKE_COMMANDS: [&str; 13] = [
    "find", "sh", "bash", "dash", "zsh", "fish", "ksh", "ash", "busybox", "env", "ssh", "su",
    "make",
];

/// The setting `command`: text that is split like a POSIX shell does, or a list of words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a command: text such as \"redis-server --port {port}\", or a list")]
pub enum StackCommand {
    /// Text.
    Text(String),
    /// The program and its arguments.
    List(Vec<String>),
}

/// The setting `shell`: what runs the text of the command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Shell {
    /// None: the program is started itself.
    #[default]
    None,
    /// This program, as `PROGRAM -c TEXT`.
    Program(String),
}

/// Why a command cannot be used. Permanent: the file must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStackCommand {
    /// Its words are invalid.
    #[error("{0}")]
    Words(#[from] InvalidCommand),
    /// A word has a meaning only for a shell.
    #[error("`{word}` has no meaning without a shell")]
    NeedsShell {
        /// The word.
        word: String,
    },
    /// A shell runs text, not a list of words.
    #[error("a shell runs a text, and this command is a list")]
    ListForShell,
}

// === impl StackCommand ===

impl StackCommand {
    /// Returns what is started.
    pub(super) fn line(&self, shell: &Shell) -> Result<CommandLine, InvalidStackCommand> {
        match (self, shell) {
            (Self::Text(text), Shell::Program(_)) if text.trim().is_empty() => {
                Err(InvalidCommand::Empty.into())
            }
            (Self::Text(text), Shell::Program(shell)) => {
                let words = [shell.as_str(), "-c", text].map(str::to_owned);
                Ok(CommandLine::new(words.into())?)
            }
            (Self::List(_), Shell::Program(_)) => Err(InvalidStackCommand::ListForShell),
            // The words of a list are meant as they are.
            (Self::List(words), Shell::None) => Ok(CommandLine::new(words.clone())?),
            (Self::Text(text), Shell::None) => {
                let line: CommandLine = text.parse()?;
                match shell_word(&line) {
                    Some(word) => Err(InvalidStackCommand::NeedsShell { word }),
                    None => Ok(line),
                }
            }
        }
    }
}

/// Returns the first word that has a meaning only for a shell.
fn shell_word(line: &CommandLine) -> Option<String> {
    let words = line.words();
    let operator = |word: &&String| {
        matches!(word.as_str(), "&&" | "||" | "|" | ";" | "&" | ">" | ">>" | "<" | "2>&1" | "2>")
            || word.ends_with(';') && word.len() > 1 && !word.contains(char::is_whitespace)
    };
    let is_builtin = |word: &&String| {
        matches!(
            word.as_str(),
            "cd" | "export" | "source" | "." | "ulimit" | "set" | "eval" | "exec"
        ) || assigns(word)
    };
    if let Some(word) = words.first().filter(is_builtin) {
        return Some(word.clone());
    }
    if TAKE_COMMANDS.contains(&line.program_name()) {
        return None;
    }
    words.iter().find(|word| operator(word) || names_variable(word)).cloned()
}

/// Returns whether the word sets a variable, as in `PORT=80 program`.
fn assigns(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| is_variable(name))
}

/// Returns whether the word consists of a variable, or has one in it as in `http://localhost:$PORT`. A text with spaces is
/// more likely a script.
fn names_variable(word: &str) -> bool {
    let name = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    let mut after = word.split('$').skip(1);
    !word.contains(char::is_whitespace)
        && after.any(|rest| is_variable(&name(rest.strip_prefix('{').unwrap_or(rest))))
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

// === impl InvalidStackCommand ===

impl InvalidStackCommand {
    pub(super) fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Words(_) => return None,
            Self::NeedsShell { word } if word == "cd" => {
                "set directory, or set shell: true".into()
            }
            Self::NeedsShell { word } if assigns(word) => {
                "set the variable under env, or set shell: true".into()
            }
            Self::NeedsShell { word } if names_variable(word) => {
                "use {port} or {NAME.url}, set shell: true, or write the command as a list to pass the word as it is".into()
            }
            Self::NeedsShell { .. } => {
                "set shell: true, or write the command as a list to pass the word as it is".into()
            }
            Self::ListForShell => "write the command as a text, or remove shell".into(),
        })
    }
}

// === impl Shell ===

impl<'de> Deserialize<'de> for Shell {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "true, false, or the path of a shell such as /bin/bash")]
        enum Written {
            Flag(bool),
            Program(String),
        }
        match Written::deserialize(input)? {
            Written::Flag(true) => Ok(Self::Program(SHELL.to_owned())),
            Written::Flag(false) => Ok(Self::None),
            Written::Program(program) if program.starts_with('/') => Ok(Self::Program(program)),
            Written::Program(_) => {
                let expected = "expected true, false, or the path of a shell such as /bin/bash";
                Err(de::Error::custom(expected))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(yaml: &str, shell: &str) -> Result<String, InvalidStackCommand> {
        let command: StackCommand = serde_saphyr::from_str(yaml).unwrap();
        let line = command.line(&serde_saphyr::from_str(shell).unwrap())?;
        Ok(line.words().join("|"))
    }

    #[test]
    fn command_is_text_a_list_or_a_script() {
        assert_eq!(line("a 'b c' $1", "false").unwrap(), "a|b c|$1");
        assert_eq!(line("[a, b c, '&&', $X]", "false").unwrap(), "a|b c|&&|$X");
        assert_eq!(line("cd web && npm start", "true").unwrap(), "/bin/sh|-c|cd web && npm start");
        assert_eq!(line("a", "/bin/bash").unwrap(), "/bin/bash|-c|a");
    }

    #[test]
    fn syntax_of_a_shell_is_refused_without_one() {
        for (text, word) in [
            ("npm install && npm start", "&&"),
            ("cd web", "cd"),
            ("PORT=80 npm start", "PORT=80"),
            ("yes | head", "|"),
            ("server > log", ">"),
            ("server --port $PORT", "$PORT"),
            ("server --url=http://localhost:${PORT}/", "--url=http://localhost:${PORT}/"),
            ("a; b", "a;"),
            ("server &", "&"),
        ] {
            let quoted = format!("'{text}'");
            let error = line(&quoted, "false").unwrap_err();
            assert_eq!(error, InvalidStackCommand::NeedsShell { word: word.to_owned() }, "{text}");
            assert!(error.hint().unwrap().contains("shell: true"), "{text}");
        }
    }

    #[test]
    fn what_other_programs_understand_is_not_refused() {
        for text in [
            "sh -c 'echo $PORT && x | y'",
            "/usr/bin/env sh -c 'x > $LOG'",
            "awk '{print $NF}' file",
            "node -e 'console.log(`${a}`); run($B)'",
            "grep -E 'a|b$' file",
            "curl http://h/?a=b&c=d",
            "psql -c 'select 1;'",
            "server --limit=5 -DNAME=value",
        ] {
            let quoted = format!("{text:?}");
            assert!(line(&quoted, "false").is_ok(), "{text}");
        }
    }

    #[test]
    fn texts_and_remedies() {
        let errors = [
            ("''", "false"),
            ("' '", "true"),
            ("echo 'a", "false"),
            ("[a]", "true"),
            ("cd x", "false"),
            ("A=b c", "false"),
            ("x $A", "false"),
            ("x | y", "false"),
        ];
        let texts = errors.map(|(command, shell)| {
            let error = line(command, shell).unwrap_err();
            format!("{command}: {error}\n  remedy: {}", error.hint().unwrap_or("-".into()))
        });
        insta::assert_snapshot!(texts.join("\n"));
    }
}
