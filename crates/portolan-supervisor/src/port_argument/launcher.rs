//! The program that a command starts through others, such as `npx`, `npm run` or `python3 -m`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use crate::CommandLine;

/// The words that precede a program, the longest first.
const LAUNCHERS: [&[&str]; 17] = [
    &["npm", "exec", "--"],
    &["npm", "exec"],
    &["pnpm", "exec"],
    &["pnpm", "dlx"],
    &["yarn", "exec"],
    &["yarn", "dlx"],
    &["bun", "x"],
    &["bunx"],
    &["npx", "--yes"],
    &["npx", "-y"],
    &["npx"],
    &["poetry", "run"],
    &["pipenv", "run"],
    &["pdm", "run"],
    &["uv", "run"],
    &["bundle", "exec"],
    &["php"],
];

/// A program that runs a script of `package.json`, and the word that must precede further arguments for the script.
type ScriptRunner = (&'static [&'static str], Option<&'static str>);

const SCRIPT_RUNNERS: [ScriptRunner; 8] = [
    (&["npm", "run"], Some("--")),
    (&["npm", "run-script"], Some("--")),
    (&["pnpm", "run"], None),
    (&["yarn", "run"], None),
    (&["bun", "run"], None),
    (&["npm"], Some("--")),
    (&["pnpm"], None),
    (&["yarn"], None),
];

/// The maximum size of `package.json` in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    scripts: BTreeMap<String, String>,
}

/// Returns the words of the program that the command starts in the end, and the word that must precede further arguments.
pub(super) fn program_of(
    command: &CommandLine,
    directory: &Path,
) -> Option<(Vec<String>, Option<&'static str>)> {
    let mut words = command.words();
    for launcher in LAUNCHERS {
        if starts_with(words, launcher) {
            words = &words[launcher.len()..];
            break;
        }
    }
    if let Some(words) = of_python(words) {
        return Some((words, None));
    }
    for (runner, separator) in SCRIPT_RUNNERS {
        if !starts_with(words, runner) {
            continue;
        }
        let (script, arguments) = words[runner.len()..].split_first()?;
        // It has arguments already, which may be anything.
        if !arguments.is_empty() {
            return None;
        }
        return Some((script_words(directory, script)?, separator));
    }
    Some((words.to_vec(), None))
}

fn starts_with(words: &[String], start: &[&str]) -> bool {
    let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    words.len() > start.len()
        && name(&words[0]) == start[0]
        && words[1..].iter().zip(&start[1..]).all(|(word, start)| word == start)
}

/// Returns the module or script that Python runs, with its arguments.
fn of_python(words: &[String]) -> Option<Vec<String>> {
    let (program, arguments) = words.split_first()?;
    if !program.rsplit('/').next()?.starts_with("python") {
        return None;
    }
    let options = arguments.iter().take_while(|word| word.starts_with('-') && *word != "-m");
    let rest = &arguments[options.count()..];
    Some(rest[usize::from(rest.first()? == "-m")..].to_vec())
}

/// Returns the words of a script of `package.json` that starts one program.
fn script_words(directory: &Path, script: &str) -> Option<Vec<String>> {
    let mut text = Vec::new();
    let file = File::open(directory.join("package.json")).ok()?;
    file.take(MAX_SIZE).read_to_end(&mut text).ok()?;
    let package: Package = serde_json::from_slice(&text).ok()?;
    let script = package.scripts.get(script)?;
    let is_simple = !script.contains(['&', '|', ';', '$', '`', '\n']);
    shell_words::split(script).ok().filter(|_| is_simple)
}
