//! The arguments that give a port to a development server that does not read `PORT`.
//!
//! They are added only to a command that has no placeholder for a port.

mod launcher;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use crate::CommandLine;
use crate::placeholders::has_placeholder;

/// A program that ignores the environment variable `PORT`.
#[derive(Debug)]
struct Framework {
    /// The file name of the program, or of the Python module or the script.
    program: &'static str,
    /// The subcommands that listen; empty if it listens without one.
    subcommands: &'static [&'static str],
    /// What is added.
    arguments: &'static [&'static str],
}

/// Arguments that are added to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortArgument {
    /// The program that needs them.
    pub program: &'static str,
    arguments: Vec<String>,
}

/// One row per program. Not listed are those that read `PORT`, such as Next, Nuxt, Rails, Puma and Gunicorn.
const FRAMEWORKS: [Framework; 22] = [
    // Without the option it listens on the next port if its own is taken.
    row("vite", &["", "dev", "serve", "preview"], &["--port", "{port}", "--strictPort"]),
    row("astro", &["dev", "preview"], &["--port", "{port}"]),
    row("ng", &["serve", "s", "dev"], &["--port", "{port}"]),
    row("webpack", &["serve", "server", "s"], &["--port", "{port}"]),
    row("webpack-dev-server", &[], &["--port", "{port}"]),
    row("react-router", &["dev"], &["--port", "{port}"]),
    row("vitepress", &["dev", "serve", "preview"], &["--port", "{port}"]),
    row("storybook", &["dev"], &["--port", "{port}"]),
    row("wrangler", &["dev"], &["--port", "{port}"]),
    row("expo", &["start"], &["--port", "{port}"]),
    row("flask", &["run"], &["--port", "{port}"]),
    row("manage.py", &["runserver"], &["{port}"]),
    row("django-admin", &["runserver"], &["{port}"]),
    row("uvicorn", &[], &["--port", "{port}"]),
    row("fastapi", &["dev", "run"], &["--port", "{port}"]),
    row("http.server", &[], &["{port}"]),
    row("streamlit", &["run"], &["--server.port", "{port}"]),
    row("hugo", &["server", "serve"], &["--port", "{port}"]),
    row("jekyll", &["serve", "server", "s"], &["--port", "{port}"]),
    row("mkdocs", &["serve"], &["--dev-addr", "127.0.0.1:{port}"]),
    row("artisan", &["serve"], &["--port", "{port}"]),
    row("jupyter", &["lab", "notebook", "server"], &["--port", "{port}"]),
];

/// Options by which a command has a port already, or does not listen at all.
const DECISIVE: [&str; 11] = [
    "--port",
    "-p",
    "-P",
    "--server.port",
    "--dev-addr",
    "-a",
    "--uds",
    "--fd",
    "--help",
    "-h",
    "--version",
];

/// Subcommands of programs that listen without a subcommand.
const NOT_LISTENING: [&str; 2] = ["build", "optimize"];

/// Returns what must be added to the command, so that its program listens on the leased port.
pub fn port_argument(
    command: &CommandLine,
    environment: &BTreeMap<String, String>,
    directory: &Path,
) -> Option<PortArgument> {
    if command.mentions_port() || environment.values().any(|value| has_placeholder(value)) {
        return None;
    }
    let (launched, separator) = launcher::program_of(command, directory)?;
    let (program, arguments) = launched.split_first()?;
    let name = program.rsplit('/').next().unwrap_or(program);
    let framework = FRAMEWORKS.iter().find(|framework| framework.program == name)?;
    if !framework.lacks_port(arguments) {
        return None;
    }
    let added = separator.iter().chain(framework.arguments).map(|it| (*it).to_owned());
    Some(PortArgument { program: framework.program, arguments: added.collect() })
}

const fn row(
    program: &'static str,
    subcommands: &'static [&'static str],
    arguments: &'static [&'static str],
) -> Framework {
    Framework { program, subcommands, arguments }
}

// === impl Framework ===

impl Framework {
    /// Returns whether a program with these arguments listens, on a port that they do not say.
    fn lacks_port(&self, arguments: &[String]) -> bool {
        let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        if arguments.iter().any(|word| DECISIVE.contains(&name(word).as_str())) {
            return false;
        }
        let mut words = arguments.iter().map(String::as_str);
        let mut others = words.clone();
        let listens = self.subcommands.is_empty()
            || words.clone().any(|word| self.subcommands.contains(&word))
            || self.subcommands.contains(&"") && !others.any(|word| NOT_LISTENING.contains(&word));
        // The port is a word without an option: `runserver 8000`, `http.server 8000`.
        let is_positional = self.arguments == ["{port}"];
        let is_ip = |word: &str| word.parse::<IpAddr>().is_ok();
        let is_address =
            |word: &str| word.parse::<u16>().is_ok() || word.contains(':') && !is_ip(word);
        listens && !(is_positional && words.any(is_address))
    }
}

// === impl PortArgument ===

impl PortArgument {
    /// Returns the command with the arguments.
    pub fn added_to(&self, command: &CommandLine) -> CommandLine {
        command.with(&self.arguments)
    }
}

impl fmt::Display for PortArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.arguments.join(" ");
        write!(f, "adds `{arguments}`, since {} does not read PORT", self.program)
    }
}

#[cfg(test)]
mod tests;
