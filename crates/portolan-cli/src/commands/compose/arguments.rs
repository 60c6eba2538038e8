//! The command line of Compose: its own options, a command, and the options of that command.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use portolan_core::quoted;

use crate::exit::Failure;

/// The commands that create containers, and so publish ports.
const PUBLISHING: [&str; 5] = ["up", "create", "run", "scale", "watch"];
/// Options with a value that both runs of Compose get.
const WITH_VALUE: [&str; 6] =
    ["--profile", "--env-file", "--ansi", "--progress", "--parallel", "--log-level"];
const FLAGS: [&str; 5] =
    ["--verbose", "--compatibility", "--dry-run", "--all-resources", "--no-ansi"];
/// Options that name another engine than the environment.
const ENGINE: [&str; 9] = [
    "-H",
    "--host",
    "-c",
    "--context",
    "--tls",
    "--tlsverify",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];

/// A command line of Compose.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) files: Vec<PathBuf>,
    pub(super) project: Option<OsString>,
    pub(super) directory: Option<PathBuf>,
    /// Every other option before the command.
    pub(super) options: Vec<OsString>,
    /// The command, and what follows it.
    pub(super) command: Vec<OsString>,
}

// === impl Arguments ===

impl Arguments {
    pub(super) fn parse(words: Vec<OsString>) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let Some(text) = word.to_str().filter(|text| text.starts_with('-')) else {
                if parsed.command.is_empty() && is_compose_file(&word) {
                    parsed.files.push(word.into());
                    continue;
                }
                parsed.command = std::iter::once(word).chain(words).collect();
                break;
            };
            parsed.option(text, &mut words)?;
        }
        match parsed.command.is_empty() && !parsed.is_help() {
            true => Err(Failure::usage("the command of Compose is missing, such as up")
                .remedy("`portolan compose --help` shows examples")),
            false => Ok(parsed),
        }
    }

    fn option(
        &mut self,
        text: &str,
        words: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Failure> {
        // As in --file=FILE and -fFILE.
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) if text.starts_with("--") => (name, Some(value)),
            _ if !text.starts_with("--") && text.len() > 2 && text.is_char_boundary(2) => {
                (&text[..2], Some(text[2..].trim_start_matches('=')))
            }
            _ => (text, None),
        };
        let mut value = || {
            let value = attached.map(OsString::from).or_else(|| words.next());
            value.ok_or_else(|| Failure::usage(format_args!("{name} of Compose needs a value")))
        };
        match name {
            "-f" | "--file" => {
                let file = value()?;
                if file == "-" {
                    return Err(Failure::usage(
                        "a configuration on standard input cannot be read twice",
                    )
                    .remedy("write it to a file"));
                }
                self.files.push(file.into());
            }
            "-p" | "--project-name" => self.project = Some(value()?),
            "--project-directory" | "--workdir" => self.directory = Some(value()?.into()),
            "-h" | "--help" | "-v" | "--version" => self.options.push(text.into()),
            _ if ENGINE.contains(&name) => {
                return Err(Failure::usage(format_args!(
                    "{name} names another engine, and ports are leased on this host"
                ))
                .remedy("set DOCKER_HOST to the Unix socket of an engine on this host"));
            }
            _ if WITH_VALUE.contains(&name) => {
                let value = value()?;
                self.options.extend([name.into(), value]);
            }
            _ if FLAGS.contains(&text) => self.options.push(text.into()),
            _ => {
                return Err(Failure::usage(format_args!("unknown option {} of Compose before its command", quoted(text)))
                    .remedy("options of Portolan come before the word compose, those of a command behind it"));
            }
        }
        Ok(())
    }

    /// Whether the command publishes ports.
    pub(super) fn publishes(&self) -> bool {
        let command = self.command.first().and_then(|word| word.to_str());
        command.is_some_and(|word| PUBLISHING.contains(&word)) && !self.is_help()
    }

    fn is_help(&self) -> bool {
        let help =
            |word: &OsString| ["-h", "--help", "-v", "--version"].iter().any(|it| word == it);
        // Behind `run SERVICE` it belongs to the program in the container.
        let of_command = self.command.get(1).filter(|word| *word == "--help");
        self.options.iter().any(help) || of_command.is_some()
    }

    /// Returns the words as they were, with FILE as an option.
    pub(super) fn as_given(&self) -> Vec<OsString> {
        self.before_command().chain(self.command.iter().cloned()).collect()
    }

    /// Returns the options that select a project.
    pub(super) fn before_command(&self) -> impl Iterator<Item = OsString> {
        let option = |name: &'static str, value: OsString| [OsString::from(name), value];
        let files = self.files.iter().flat_map(move |it| option("-f", it.into()));
        let project = self.project.iter().flat_map(move |it| option("-p", it.clone()));
        let directory =
            self.directory.iter().flat_map(move |it| option("--project-directory", it.into()));
        files.chain(project).chain(directory).chain(self.options.iter().cloned())
    }
}

fn is_compose_file(word: &OsStr) -> bool {
    Path::new(word).extension().is_some_and(|end| end == "yml" || end == "yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(OsString::from).collect())
            .map_err(|failure| failure.to_string())
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn file_is_an_option_and_the_rest_is_passed_on() {
        let parsed = parse("docker-compose.test.yml up -d -f x --build").unwrap();
        assert_eq!(parsed.as_given(), words("-f docker-compose.test.yml up -d -f x --build"));
        assert!(parsed.publishes());
        let parsed = parse(
            "-f a.yml --file=b.yml -pshop --project-directory /x --profile debug --verbose up",
        )
        .unwrap();
        assert_eq!(parsed.files, [Path::new("a.yml"), Path::new("b.yml")]);
        assert_eq!(parsed.project.as_deref(), Some(OsStr::new("shop")));
        assert_eq!(parsed.options, words("--profile debug --verbose"));
        assert_eq!(parsed.directory.as_deref(), Some(Path::new("/x")));
    }

    #[test]
    fn only_commands_that_create_containers_lease_ports() {
        for line in ["up", "create web", "run web sh", "scale web=2"] {
            assert!(parse(line).unwrap().publishes(), "{line}");
        }
        for line in ["down", "ps", "logs -f", "port web 80", "up --help", "--version", "start"] {
            assert!(!parse(line).unwrap().publishes(), "{line}");
        }
    }

    #[test]
    fn wrong_lines_are_errors_with_a_remedy() {
        for (line, expected) in [
            ("", "the command of Compose is missing"),
            ("a.yml", "the command of Compose is missing"),
            ("-f", "needs a value"),
            ("-f - up", "standard input"),
            ("-H tcp://x up", "another engine"),
            ("--context=x up", "another engine"),
            ("--jsn up", "unknown option \"--jsn\""),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
