//! Files with environment variables: the setting `env_file` of a service, and `.env` beside the stack file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use portolan_core::Remedy;
use serde::Deserialize;

/// The maximum size of a file in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// The setting `env_file`: a path, or a list of paths, of which later ones take precedence.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Written")]
pub struct EnvFiles(Vec<EnvFile>);

/// A file with environment variables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvFile {
    path: PathBuf,
    #[serde(default = "yes")]
    required: bool,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a file, or a list of files, each a path or {path: FILE, required: false}"
)]
enum Written {
    One(WrittenFile),
    List(Vec<WrittenFile>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a path or {path: FILE, required: false}")]
enum WrittenFile {
    Path(PathBuf),
    File(EnvFile),
}

/// Why a file with environment variables cannot be used. Permanent: the file must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEnvFile {
    /// It cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        problem: String,
    },
    /// A line is not a variable. Its text may be a secret and is not shown.
    #[error("{}:{line}: not a variable", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}

/// Reads the variables of a file in the format of Compose and dotenv: `NAME=value` or `export NAME=value`, with comments, quotation
/// marks, and variables such as `${OTHER}`, except in single quotes. `path` is only for errors.
pub fn parse_env_file(
    text: &[u8],
    path: &Path,
) -> Result<BTreeMap<String, String>, InvalidEnvFile> {
    let mut variables = BTreeMap::new();
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    for variable in dotenvy::from_read_iter(text) {
        let (name, value) = variable.map_err(|error| match error {
            dotenvy::Error::LineParse(line, _) => {
                let (path, line) = (path.to_owned(), number_of(&line, text));
                InvalidEnvFile::Line { path, line }
            }
            error => unreadable(path, &error),
        })?;
        if value.contains('\0') {
            let line = number_of(&name, text);
            return Err(InvalidEnvFile::Line { path: path.to_owned(), line });
        }
        variables.insert(name, value);
    }
    Ok(variables)
}

/// Reads the variables of a file.
pub fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>, InvalidEnvFile> {
    parse_env_file(&read(path).map_err(|error| unreadable(path, &error))?, path)
}

/// Returns the number of the line that begins a faulty variable.
fn number_of(faulty: &str, text: &[u8]) -> usize {
    let faulty = faulty.lines().next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let found = text.lines().position(|line| line.trim_start().starts_with(faulty.trim()));
    found.unwrap_or_default() + 1
}

fn unreadable(path: &Path, problem: &dyn std::fmt::Display) -> InvalidEnvFile {
    InvalidEnvFile::Read { path: path.to_owned(), problem: problem.to_string() }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe must not block.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(size) if size <= MAX_SIZE => Ok(bytes),
        _ => Err(io::Error::other(format!("it has more than {MAX_SIZE} bytes"))),
    }
}

fn yes() -> bool {
    true
}

// === impl EnvFiles ===

impl EnvFiles {
    /// Returns the variables of all files, whose paths are relative to the directory.
    pub(super) fn read(&self, folder: &Path) -> Result<BTreeMap<String, String>, InvalidEnvFile> {
        let mut variables = BTreeMap::new();
        for EnvFile { path, required } in &self.0 {
            match read(&folder.join(path)) {
                Ok(text) => variables.extend(parse_env_file(&text, path)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
                Err(error) => return Err(unreadable(path, &error)),
            }
        }
        Ok(variables)
    }
}

impl From<Written> for EnvFiles {
    fn from(written: Written) -> Self {
        let files = match written {
            Written::One(file) => vec![file],
            Written::List(files) => files,
        };
        let file = |written| match written {
            WrittenFile::Path(path) => EnvFile { path, required: true },
            WrittenFile::File(file) => file,
        };
        Self(files.into_iter().map(file).collect())
    }
}

// === impl InvalidEnvFile ===

impl InvalidEnvFile {
    pub(super) fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Read { .. } => {
                "create the file, correct its path, which is relative to the stack file, or write {path: FILE, required: false}".into()
            }
            Self::Line { .. } => "write NAME=value, and a value with spaces or # in quotation marks".into(),
        }
    }
}

impl Remedy for InvalidEnvFile {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(self.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
        let variables = parse_env_file(text.as_bytes(), Path::new(".env"));
        Ok(variables.map_err(|error| error.to_string())?.into_iter().collect())
    }

    fn value_of(text: &str) -> String {
        parse(text).unwrap().into_iter().find(|(name, _)| name == "A").unwrap().1
    }

    #[test]
    fn lines_are_read_as_by_compose() {
        for (text, expected) in [
            ("A=b", "b"),
            ("export A=b", "b"),
            ("# A=x\n\nA=b # comment", "b"),
            ("A='b # c'", "b # c"),
            ("A=\"b\\nc\"", "b\nc"),
            ("A=", ""),
            ("A=x\nA=y", "y"),
            ("B_OF_TEST=1\nA=${B_OF_TEST}2", "12"),
            ("B_OF_TEST=1\nA='${B_OF_TEST}2'", "${B_OF_TEST}2"),
            ("A=postgres://u:p@h/d?x=y", "postgres://u:p@h/d?x=y"),
            ("\u{feff}A=b", "b"),
            ("A=b\r\n", "b"),
        ] {
            assert_eq!(value_of(text), expected, "{text}");
        }
    }

    #[test]
    fn faulty_line_is_named_without_its_text() {
        assert_eq!(parse("A=b\nnot a variable: secret").unwrap_err(), ".env:2: not a variable");
        assert_eq!(parse("A=b\n\n  B = \"x").unwrap_err(), ".env:3: not a variable");
        assert!(parse_env_file(b"A=\xff", Path::new(".env")).is_err());
    }

    #[test]
    fn later_files_take_precedence_and_optional_ones_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), "A=1\nB=1").unwrap();
        std::fs::write(folder.path().join("two"), "B=2").unwrap();
        let files =
            |yaml: &str| serde_saphyr::from_str::<EnvFiles>(yaml).unwrap().read(folder.path());
        let read = files("[one, {path: two}, {path: absent, required: false}]").unwrap();
        assert_eq!(read, BTreeMap::from([("A".into(), "1".into()), ("B".into(), "2".into())]));
        assert_eq!(files("one").unwrap().len(), 2);
        for absent in ["absent", "[{path: absent}]", "."] {
            assert!(matches!(files(absent), Err(InvalidEnvFile::Read { .. })), "{absent}");
        }
    }
}
