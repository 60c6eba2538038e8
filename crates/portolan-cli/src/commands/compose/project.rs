//! Which project a command line of Compose means: its directory and its name, by the rules of Compose.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use portolan_core::{Scope, quoted};

use super::arguments::Arguments;
use crate::exit::Failure;

/// The files that Compose looks for, in the working directory and above it.
const FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// The largest `.env` that is read, in bytes.
const MAX_ENV: u64 = 1 << 20;
/// The longest name of a project: it is part of the name of a socket.
const MAX_NAME: usize = 63;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    /// The name, which is a scope too.
    pub(super) name: Scope,
    /// The directory, without symbolic links.
    pub(super) directory: PathBuf,
}

// === impl Project ===

impl Project {
    /// Returns the project; `printed` is the name that Compose v2 prints with the configuration.
    pub(super) fn of(arguments: &Arguments, printed: Option<&str>) -> Result<Self, Failure> {
        let directory = directory(arguments)?;
        let directory = fs::canonicalize(&directory).map_err(|error| {
            Failure::usage(format_args!(
                "cannot use the directory {}: {error}",
                directory.display()
            ))
        })?;
        let given = || {
            let given =
                arguments.project.clone().or_else(|| variable("COMPOSE_PROJECT_NAME", &directory));
            given.filter(|it| !it.is_empty()).map(|it| it.to_string_lossy().into_owned())
        };
        let name = printed.map(str::to_owned).or_else(given).unwrap_or_else(|| {
            directory.file_name().map(|it| normalized(&it.to_string_lossy())).unwrap_or_default()
        });
        let name = checked(&name)?;
        Ok(Self { name, directory })
    }
}

fn checked(name: &str) -> Result<Scope, Failure> {
    let is_valid = name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_".contains(&it));
    name.parse().ok().filter(|_| is_valid).ok_or_else(|| {
        Failure::usage(format_args!(
            "{} is no name of a project, expected up to {MAX_NAME} of a-z, 0-9, '-' and '_', beginning with a letter or digit",
            quoted(name)
        ))
        .remedy("set it with -p NAME or COMPOSE_PROJECT_NAME")
    })
}

/// The name that Compose derives from a directory.
fn normalized(directory: &str) -> String {
    let lower = directory.to_lowercase();
    let kept = lower.chars().filter(|it| matches!(it, 'a'..='z' | '0'..='9' | '-' | '_'));
    kept.collect::<String>().trim_start_matches(['-', '_']).to_owned()
}

fn directory(arguments: &Arguments) -> Result<PathBuf, Failure> {
    if let Some(directory) = &arguments.directory {
        return Ok(directory.clone());
    }
    if let Some(file) = arguments.files.first() {
        return Ok(parent(file));
    }
    let current = std::env::current_dir().map_err(Failure::failed)?;
    if let Some(files) = variable("COMPOSE_FILE", &current) {
        let files = files.to_string_lossy().into_owned();
        let separator = std::env::var("COMPOSE_PATH_SEPARATOR").unwrap_or_else(|_| ":".to_owned());
        return Ok(parent(Path::new(files.split(separator.as_str()).next().unwrap_or_default())));
    }
    let has_file = |directory: &&Path| FILES.iter().any(|file| directory.join(file).is_file());
    current.ancestors().find(has_file).map(Path::to_owned).ok_or_else(|| {
        Failure::usage(format_args!("no Compose file in {} or above it", current.display()))
            .remedy("name it: `portolan compose FILE up`")
    })
}

fn parent(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// Returns a variable of the environment, or else of the file `.env` of the project, as Compose does.
fn variable(name: &str, directory: &Path) -> Option<OsString> {
    std::env::var_os(name).or_else(|| {
        let path = directory.join(".env");
        let is_small = fs::metadata(&path).is_ok_and(|it| it.is_file() && it.len() <= MAX_ENV);
        let text = is_small.then(|| fs::read_to_string(&path).ok()).flatten()?;
        value_in(&text, name).map(OsString::from)
    })
}

fn value_in(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("export ").trim_start());
    let mut values = lines.filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim_end() == name).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    });
    values.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_derived_as_compose_does() {
        for (directory, name) in
            [("shop", "shop"), ("My Shop.v2", "myshopv2"), ("_x-Y_", "x-y_"), ("日本", "")]
        {
            assert_eq!(normalized(directory), name);
        }
        for name in ["", "-x", "Shop", "a/b", "a\u{1b}[2J", &"x".repeat(64)] {
            assert!(checked(name).is_err(), "{name}");
        }
    }

    #[test]
    fn variables_of_the_file_are_read() {
        let text = "# COMPOSE_PROJECT_NAME=no\nexport COMPOSE_PROJECT_NAME = \"shop\"\nX=1\n";
        assert_eq!(value_in(text, "COMPOSE_PROJECT_NAME").as_deref(), Some("shop"));
        assert_eq!(value_in(text, "COMPOSE_FILE"), None);
    }

    #[test]
    fn directory_is_that_of_the_first_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("My-App");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("compose.yml"), "").unwrap();
        let arguments = Arguments { files: vec![path.join("compose.yml")], ..Arguments::default() };
        let project = Project::of(&arguments, None).unwrap();
        assert_eq!(
            (project.name.as_str(), &project.directory),
            ("my-app", &fs::canonicalize(&path).unwrap())
        );
        assert_eq!(Project::of(&arguments, Some("other")).unwrap().name, "other");
        let arguments = Arguments { project: Some("Bad Name".into()), ..arguments };
        assert!(Project::of(&arguments, None).unwrap_err().message.contains("\"Bad Name\""));
    }
}
