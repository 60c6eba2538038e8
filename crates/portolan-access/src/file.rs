//! The files of policies and tokens on disk.

use std::borrow::Cow;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use portolan_core::{Remedy, open_regular, replace_file, shell_word};

use crate::TokenFile;

/// The largest file in bytes: some 4,000 tokens.
const MAX_SIZE: u64 = 1024 * 1024;

/// Why a file of policies or tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessFileError {
    /// The file cannot be read or written. Retry once the cause is gone.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Other users can change the file, and so give themselves rights. Retrying does not help.
    #[error("{}: other users can change it (mode {mode:04o})", path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file belongs to another user than this one and root. Retrying does not help.
    #[error("{}: it belongs to the user {owner}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The owner.
        owner: u32,
    },
    /// The file is larger than it can be. Retrying does not help.
    #[error("{}: it has more than {MAX_SIZE} bytes", .0.display())]
    TooLarge(PathBuf),
    /// A line of the file is not the record of a token. Retrying does not help.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads a file of policies, which no other user may be able to change.
///
/// # Errors
///
/// It cannot be read, it is too large, or another user can change it.
pub fn read_policies_file(path: &Path) -> Result<Vec<u8>, AccessFileError> {
    let error = |source| AccessFileError::File { path: path.to_owned(), source };
    read(path, &open_regular(path).map_err(error)?)
}

/// Writes a secret to a file that only this user can read, in place of what was there.
///
/// # Errors
///
/// It cannot be written.
pub fn write_secret_file(path: &Path, secret: &str) -> Result<(), AccessFileError> {
    let written = replace_file(path, 0o600, |mut file| writeln!(file, "{secret}"));
    written.map_err(|source| AccessFileError::File { path: path.to_owned(), source })
}

// === impl TokenFile ===

impl TokenFile {
    /// Returns the path of the tokens that belong to a file of policies: beside it, with the extension `tokens.jsonl`.
    pub fn path_beside(policies: &Path) -> PathBuf {
        policies.with_extension("tokens.jsonl")
    }

    /// Reads the records; none if there is no file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, another user can change it, or a line is damaged.
    pub fn read(path: &Path) -> Result<Self, AccessFileError> {
        match open_regular(path) {
            Ok(file) => parse(path, read(path, &file)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(AccessFileError::File { path: path.to_owned(), source }),
        }
    }

    /// Changes the records, one process at a time. The file is replaced as a whole, so that a reader sees the former or the
    /// new records. A new file has the owner and the permissions of the file of policies.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and if the file cannot be written.
    pub fn update<T>(
        policies: &Path,
        change: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, AccessFileError> {
        let path = &Self::path_beside(policies);
        let error = |source| AccessFileError::File { path: path.clone(), source };
        let lock = lock(path, policies).map_err(error)?;
        let mut records = parse(path, read(path, &lock)?)?;
        let result = change(&mut records);
        // An empty file is new: the process that created it may not have set its permissions yet.
        let like = match lock.metadata().map_err(error)? {
            new if new.len() == 0 => policies.metadata().map_err(error)?,
            like => like,
        };
        let written = replace_file(path, 0o600, |mut file| {
            take_after(file, &like);
            file.write_all(records.to_string().as_bytes())
        });
        written.map_err(error)?;
        Ok(result)
    }
}

/// Opens and locks the file, which another process may replace meanwhile.
fn lock(path: &Path, policies: &Path) -> io::Result<File> {
    loop {
        let options = || OpenOptions::new().read(true).write(true).to_owned();
        let file = match options().open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let like = policies.metadata()?;
                match options().create_new(true).mode(0o600).open(path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    file => file.inspect(|file| take_after(file, &like))?,
                }
            }
            file => file?,
        };
        file.lock()?;
        let is_current = |now: Metadata| {
            file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (now.dev(), now.ino()))
        };
        if path.metadata().is_ok_and(is_current) {
            return Ok(file);
        }
    }
}

/// Gives the file the permissions of another one, and its owner, if this user may.
fn take_after(file: &File, other: &Metadata) {
    let _ = fchown(file, Some(other.uid()), Some(other.gid()));
    let _ = file.set_permissions(Permissions::from_mode(other.mode() & 0o644));
}

fn read(path: &Path, file: &File) -> Result<Vec<u8>, AccessFileError> {
    let path = || path.to_owned();
    let error = |source| AccessFileError::File { path: path(), source };
    let metadata = file.metadata().map_err(error)?;
    if !metadata.is_file() {
        return Err(error(io::Error::other("it is not a regular file")));
    }
    check_writers(&path(), &metadata)?;
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > MAX_SIZE { Err(AccessFileError::TooLarge(path())) } else { Ok(bytes) }
}

fn check_writers(path: &Path, metadata: &Metadata) -> Result<(), AccessFileError> {
    let (mode, owner, path) = (metadata.mode() & 0o7777, metadata.uid(), path.to_owned());
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(AccessFileError::Foreign { path, owner });
    }
    if mode & 0o022 != 0 { Err(AccessFileError::Writable { path, mode }) } else { Ok(()) }
}

fn parse(path: &Path, bytes: Vec<u8>) -> Result<TokenFile, AccessFileError> {
    let at = |(line, problem)| AccessFileError::Line { path: path.to_owned(), line, problem };
    let text = String::from_utf8(bytes).map_err(|_| at((1, "it is not UTF-8".to_owned())))?;
    TokenFile::parse(&text).map_err(at)
}

// === impl AccessFileError ===

impl Remedy for AccessFileError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::File { .. } => "check that the file exists and this user may use it".into(),
            Self::Writable { path, .. } => format!("chmod go-w {}", shell_word(path)).into(),
            Self::Foreign { .. } => "let it belong to root, or to the user of the registry".into(),
            Self::TooLarge(_) => {
                "check that it is the right file, and revoke tokens that expired".into()
            }
            Self::Line { .. } => {
                "remove the line: its token is not accepted any more, create a new one".into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use super::*;
    use crate::NewToken;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn concurrent_updates_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let policies = directory.path().join("policies.yaml");
        fs::write(&policies, "").unwrap();
        fs::set_permissions(&policies, Permissions::from_mode(0o640)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let token = NewToken::new("api", Timestamp::UNIX_EPOCH, None);
                        TokenFile::update(&policies, |file| file.add(token.record)).unwrap();
                    }
                });
            }
        });
        let path = TokenFile::path_beside(&policies);
        assert!(path.ends_with("policies.tokens.jsonl"));
        assert_eq!(TokenFile::read(&path).unwrap().records().len(), 40);
        assert_eq!(mode(&path), 0o640, "as the policies");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn file_that_others_can_change_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.yaml");
        fs::write(&path, "policies: {}").unwrap();
        assert_eq!(read_policies_file(&path).unwrap(), b"policies: {}");
        for mode in [0o602, 0o620, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = read_policies_file(&path).unwrap_err();
            assert!(matches!(error, AccessFileError::Writable { .. }), "{error}");
        }
        assert!(read_policies_file(directory.path()).is_err());
    }

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let path = || PathBuf::from("/etc/portolan/policies.tokens.jsonl");
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let (line, problem) = (3, "it is not the record of a token".to_owned());
        let texts = [
            AccessFileError::File { path: path(), source: missing() },
            AccessFileError::Writable { path: path(), mode: 0o666 },
            AccessFileError::Foreign { path: path(), owner: 1001 },
            AccessFileError::TooLarge(path()),
            AccessFileError::Line { path: path(), line, problem },
        ]
        .map(|error| error.with_remedy());
        insta::assert_snapshot!(texts.join("\n"));
    }
}
