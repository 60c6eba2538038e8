//! Secrets that are not in the settings themselves: in files, in open descriptors, and in the credentials that a service
//! manager passes.

use std::borrow::Cow;
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use portolan_broadcast::{KeyProblem, SharedKey, read_secret};
use portolan_core::{Remedy, Secret};
use rustix::fs::{Mode, OFlags};

use crate::Settings;

/// The fewest bytes of the token of a registry that other hosts can reach.
pub const MIN_TOKEN: usize = 16;
/// The credential of systemd (`LoadCredential=portolan.token:…`) with the token.
const TOKEN_CREDENTIAL: &str = "portolan.token";
/// The credential with the key of the broadcast channel.
const KEY_CREDENTIAL: &str = "portolan.broadcast-key";
/// The directory of the credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Marks a descriptor in place of a file.
const DESCRIPTOR: &str = "fd:";
/// The largest secret in bytes.
const MAX_SIZE: u64 = 4096;

/// A secret that cannot be read. Retrying helps once its file can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// The secret is set in two ways.
    #[error("{setting}: is set beside {other}, expected one of them")]
    Twice {
        /// One setting.
        setting: &'static str,
        /// The other setting.
        other: &'static str,
    },
    /// The file cannot be used.
    #[error("{setting}: {problem}")]
    File {
        /// The setting, or the name of the credential.
        setting: &'static str,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// The descriptor cannot be read.
    #[error("{setting}: cannot read the descriptor {descriptor}: {source}")]
    Descriptor {
        /// The setting.
        setting: &'static str,
        /// The descriptor as given.
        descriptor: String,
        /// The system's error.
        source: io::Error,
    },
}

// === impl InvalidSecret ===

impl InvalidSecret {
    /// Returns the path of the setting.
    pub fn path(&self) -> String {
        match self {
            Self::Twice { setting, .. }
            | Self::File { setting, .. }
            | Self::Descriptor { setting, .. } => (*setting).to_owned(),
        }
    }
}

impl Remedy for InvalidSecret {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Twice { other, .. } => Some(format!("remove {other}").into()),
            Self::File { problem, .. } => Some(problem.remedy().into()),
            Self::Descriptor { .. } => {
                Some("open it in the caller, such as `portolan … 3< FILE` for fd:3".into())
            }
        }
    }
}

// === impl Settings ===

impl Settings {
    /// Reads the secrets that the settings name, and those that a service manager passes, into `token`, `client_token` and
    /// `broadcast.key`. `stronger` says of two settings whether the layer of the first is the stronger one, and `None` if they are in one layer.
    ///
    /// # Errors
    /// A file or descriptor cannot be read, or a secret is set twice in one layer.
    pub fn read_secrets(
        &mut self,
        stronger: impl Fn(&str, &str) -> Option<bool>,
    ) -> Result<(), InvalidSecret> {
        if let Some(file) = self.token_file.clone() {
            match self.token.as_ref().map(|_| stronger("token_file", "token")) {
                Some(None) => {
                    return Err(InvalidSecret::Twice { setting: "token_file", other: "token" });
                }
                Some(Some(false)) => self.token_file = None,
                Some(Some(true)) | None => self.token = Some(read("token_file", &file)?),
            }
        } else if self.token.is_none() {
            self.token = credential(TOKEN_CREDENTIAL)?;
        }
        let file = self.discovery.token_file.as_deref();
        self.client_token = file.map(|file| read("discovery.token_file", file)).transpose()?;
        let broadcast = &mut self.broadcast;
        if let Some(file) = broadcast.key_file.clone() {
            if broadcast.key.is_some()
                && stronger("broadcast.key", "broadcast.key_file") == Some(true)
            {
                broadcast.key_file = None;
            } else if broadcast.key.is_some()
                && stronger("broadcast.key_file", "broadcast.key") == Some(true)
            {
                broadcast.key = None;
            }
            // A descriptor can be read once only; the channel reads files itself.
            if is_descriptor(&file) && broadcast.key_file.is_some() && broadcast.key.is_none() {
                broadcast.key = Some(read("broadcast.key_file", &file)?.into());
                broadcast.key_file = None;
            }
        } else if !broadcast.is_signed() {
            broadcast.key = credential(KEY_CREDENTIAL)?.map(SharedKey::from);
        }
        Ok(())
    }
}

/// Whether a service manager passes a token, or a key of the broadcast channel.
pub fn is_passed(setting: &str) -> bool {
    let name = match setting {
        "token" => TOKEN_CREDENTIAL,
        "broadcast.key" => KEY_CREDENTIAL,
        _ => return false,
    };
    credential_file(name).is_some()
}

/// Whether the setting names an open descriptor in place of a file.
pub fn is_descriptor(file: &Path) -> bool {
    file.to_str().is_some_and(|text| text.starts_with(DESCRIPTOR))
}

fn read(setting: &'static str, file: &Path) -> Result<Secret, InvalidSecret> {
    match file.to_str().and_then(|text| text.strip_prefix(DESCRIPTOR)) {
        Some(number) => read_descriptor(number).map_err(|source| InvalidSecret::Descriptor {
            setting,
            descriptor: number.to_owned(),
            source,
        }),
        None => read_secret(file).map_err(|problem| InvalidSecret::File { setting, problem }),
    }
}

fn credential(name: &'static str) -> Result<Option<Secret>, InvalidSecret> {
    credential_file(name).map(|file| read(name, &file)).transpose()
}

fn credential_file(name: &str) -> Option<PathBuf> {
    let directory = env::var_os(CREDENTIALS).map(PathBuf::from).filter(|path| path.is_absolute());
    directory.map(|directory| directory.join(name)).filter(|file| file.exists())
}

/// Reads a descriptor that the caller has opened, and closes it, so that no child inherits it.
fn read_descriptor(number: &str) -> io::Result<Secret> {
    let number: i32 = number.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    if number < 3 {
        return Err(io::Error::other("0, 1 and 2 are the standard streams"));
    }
    // Opening the link avoids raw descriptors, and works for files and pipes.
    let path = format!("/proc/self/fd/{number}");
    let file = File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut text = String::new();
    _ = nix::unistd::close(number);
    file.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    match secret.len() {
        0 => Err(io::Error::other("it is empty")),
        length if length as u64 > MAX_SIZE => Err(io::Error::other("it has more than 4096 bytes")),
        _ => Ok(secret.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn descriptor_is_read_once_and_closed() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"a token of the registry\n").unwrap();
        drop(writer);
        let number = reader.into_raw_fd();
        let mut settings =
            Settings { token_file: Some(format!("fd:{number}").into()), ..Settings::default() };
        settings.read_secrets(|_, _| None).unwrap();
        assert_eq!(settings.token.unwrap().expose(), "a token of the registry");
        assert!(read_descriptor(&number.to_string()).is_err());
        for wrong in ["1", "x", "-3", "99999"] {
            assert!(read_descriptor(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stronger_layer_decides_between_a_token_and_its_file() {
        let set = || Settings {
            token: Some("from the environment".into()),
            token_file: Some("/nonexistent/token".into()),
            ..Settings::default()
        };
        let mut settings = set();
        settings.read_secrets(|_, _| Some(false)).unwrap();
        assert_eq!(settings.token.unwrap().expose(), "from the environment");
        let error = set().read_secrets(|_, _| Some(true)).unwrap_err();
        assert!(error.to_string().starts_with("token_file: cannot read the file"), "{error}");
        let error = set().read_secrets(|_, _| None).unwrap_err();
        insta::assert_snapshot!(error.with_remedy());
    }
}
