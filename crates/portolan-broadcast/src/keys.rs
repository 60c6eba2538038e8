//! The keys of a channel: where they come from, and which are strong enough.

mod file;
mod followed;
mod keyring;
mod secret_file;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;

use portolan_core::{Secret, shell_word};
use serde::{Deserialize, Serialize};

pub(crate) use file::read as read_key;
pub use file::read_secret;
pub(crate) use followed::FollowedKeys;
pub(crate) use keyring::{BadSignature, Keyring};
pub use secret_file::FollowedSecret;

/// The fewest bytes of a key.
const MIN_BYTES: usize = 16;
/// The fewest different bytes of a key: 16 random hexadecimal digits have about 10.
const MIN_DISTINCT: usize = 8;

/// The secret that the members of a channel share. It prints as `***`, and is overwritten in memory when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedKey(Secret);

/// A key with its id, in a file that only its owner can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The id, 1 to 64 bytes, sent with each message that the key signs.
    pub id: String,
    /// The file with the key. A newline at its end does not belong to the key. A relative path starts at the
    /// working directory.
    pub file: PathBuf,
}

/// What is wrong with a key. The text never contains it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// The key is empty.
    #[error("the key is empty")]
    Empty,
    /// The key has too few bytes.
    #[error("the key has {length} bytes, expected at least {MIN_BYTES}")]
    Short {
        /// Its length in bytes.
        length: usize,
    },
    /// The key has too few different bytes.
    #[error("the key has {distinct} different characters, expected at least {MIN_DISTINCT}")]
    Monotonous {
        /// The number of different bytes.
        distinct: usize,
    },
    /// The key is a short text that is repeated.
    #[error(
        "the key repeats its first {period} bytes, expected at least {MIN_BYTES} bytes that do not repeat"
    )]
    Repetitive {
        /// The length of the repeated part.
        period: usize,
    },
    /// The key is a list or a map in YAML.
    #[error("the key begins with {0}, which is a list or a map and not text")]
    Collection(char),
    /// The key has a control character or a space at one end, as from a mistake in copying it.
    #[error("the key has {0}, which does not belong to a key")]
    Character(&'static str),
    /// The file cannot be read.
    #[error("cannot read the file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is not that of a regular file.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Other users can read or change the file.
    #[error(
        "the file {} can be read or changed by other users (mode {mode:04o}), expected mode 0600",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is too large for a key, or is not text.
    #[error("{} is not the file of a key or token, expected text of at most {limit} bytes", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// The largest size in bytes.
        limit: u64,
    },
    /// The file's contents are no usable key.
    #[error("the file {}: {problem}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with the key.
        #[source]
        problem: Box<KeyProblem>,
    },
    /// The file is empty.
    #[error("the file {} is empty", .0.display())]
    Blank(PathBuf),
    /// Another entry has the same id or the same key.
    #[error("the {0} occurs twice, expected a different one for each entry")]
    Duplicate(&'static str),
}

// === impl SharedKey ===

impl SharedKey {
    /// Returns the secret.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Checks that the key cannot be guessed in a search over messages that were recorded: at least 16 bytes
    /// that do not repeat, 8 of them different.
    pub fn check(&self) -> Result<(), KeyProblem> {
        let bytes = self.expose().as_bytes();
        self.check_characters()?;
        if bytes.len() < MIN_BYTES {
            return Err(KeyProblem::Short { length: bytes.len() });
        }
        let distinct = bytes.iter().collect::<BTreeSet<_>>().len();
        if distinct < MIN_DISTINCT {
            return Err(KeyProblem::Monotonous { distinct });
        }
        let repeats =
            |period: &usize| bytes.iter().eq(bytes.iter().take(*period).cycle().take(bytes.len()));
        match (1..MIN_BYTES).find(repeats) {
            Some(period) => Err(KeyProblem::Repetitive { period }),
            None => Ok(()),
        }
    }

    /// Finds what a mistake in a configuration leaves in a key.
    fn check_characters(&self) -> Result<(), KeyProblem> {
        let text = self.expose();
        match text.chars().next() {
            None => return Err(KeyProblem::Empty),
            Some(first @ ('[' | '{')) => return Err(KeyProblem::Collection(first)),
            Some(_) => {}
        }
        if text.contains(char::is_control) {
            return Err(KeyProblem::Character("a line break or another control character"));
        }
        if text.trim() != text {
            return Err(KeyProblem::Character("a space at one end"));
        }
        Ok(())
    }
}

impl From<String> for SharedKey {
    fn from(key: String) -> Self {
        Self(key.into())
    }
}

impl From<Secret> for SharedKey {
    fn from(key: Secret) -> Self {
        Self(key)
    }
}

impl From<&str> for SharedKey {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

// === impl KeyProblem ===

impl KeyProblem {
    /// Returns what resolves the problem.
    pub fn remedy(&self) -> String {
        match self {
            Self::Contents { path, .. } | Self::NotAKey { path, .. } | Self::Blank(path) => {
                format!("make one with `(umask 077; openssl rand -hex 32 > {})`", shell_word(path))
            }
            Self::Exposed { path, .. } => format!("run `chmod 600 {}`", shell_word(path)),
            Self::Read { path, .. } | Self::NotAFile(path) => {
                format!("check that {} is a file of this user", path.display())
            }
            Self::Duplicate(_) => "remove one of the entries".to_owned(),
            Self::Empty => {
                "set a key, such as the output of `openssl rand -hex 32`, or remove the setting"
                    .to_owned()
            }
            _ => "use a random key, such as the output of `openssl rand -hex 32`".to_owned(),
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
