//! What to type in place of a command line that the parser does not accept, but that other tools do.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands of Compose and of other process runners.
const COMMANDS: [(&str, &str); 10] = [
    (
        "attach",
        "use `portolan watch`, which follows the services; the output is that of `portolan up`",
    ),
    ("down", "press Ctrl-C in the terminal of `portolan up`, or send it SIGTERM"),
    ("kill", "send the signal to the process that `portolan up` shows"),
    ("logs", "read the output of `portolan up`"),
    ("ls", "use `portolan list`"),
    ("ps", "use `portolan list`"),
    (
        "restart",
        "stop `portolan up` and start it again; `restart` in its file starts failed programs again",
    ),
    ("scale", "set `instances` of the service"),
    ("start", "use `portolan up SERVICE`"),
    ("stop", "press Ctrl-C in the terminal of `portolan up`, or send it SIGTERM"),
];

/// Returns the advice for a word that other tools have, or for a command without `--` before it.
pub(crate) fn usage_hint(error: &Error, arguments: &[String]) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand)?;
            COMMANDS.iter().find(|(command, _)| *command == word).map(|(_, hint)| *hint)
        }
        ErrorKind::UnknownArgument => {
            let is_word = text(error, ContextKind::InvalidArg)?.starts_with(|c| c != '-');
            let starts_programs = arguments.iter().any(|it| ["run", "exec"].contains(&it.as_str()));
            let is_missing = is_word && starts_programs && !arguments.iter().any(|it| it == "--");
            is_missing.then_some(
                "put `--` before the command, as in `portolan run --name api -- python3 app.py`",
            )
        }
        _ => None,
    }
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn words_of_other_tools_have_a_hint() {
        let hint = |line: &str| {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let error = Cli::try_parse_from(&arguments).unwrap_err();
            usage_hint(&error, &arguments)
        };
        assert!(hint("portolan ps").unwrap().contains("portolan list"));
        assert!(hint("portolan down").unwrap().contains("Ctrl-C"));
        assert!(hint("portolan run python3 app.py").unwrap().contains("put `--` before"));
        assert!(hint("portolan exec --needs db psql").unwrap().contains("put `--` before"));
        for line in ["portolan frobnicate", "portolan run --frobnicate -- x", "portolan list x y"] {
            assert_eq!(hint(line), None, "{line}");
        }
    }
}
