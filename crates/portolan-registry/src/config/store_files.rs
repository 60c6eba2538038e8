//! The settings that stores over a cluster have in common: certificates, and files with secrets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The certificates of the connections to a store's cluster, as PEM files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreTlsConfig {
    /// The authorities that sign the certificates of the cluster. Required for `https://`.
    pub ca: Option<PathBuf>,
    /// The client certificate, with its chain. Default none.
    pub certificate: Option<PathBuf>,
    /// The key of the client certificate.
    pub key: Option<PathBuf>,
}

#[cfg(any(feature = "etcd", feature = "consul"))]
pub(super) mod files {
    use std::path::Path;

    use portolan_core::read_regular;

    use super::StoreTlsConfig;

    /// The largest file in bytes.
    const MAX_SIZE: u64 = 1024 * 1024;

    /// A setting of a store that is invalid, or whose file cannot be read.
    #[derive(Debug)]
    pub(in crate::config) struct InvalidSetting {
        pub(in crate::config) key: &'static str,
        pub(in crate::config) problem: String,
    }

    /// The contents of the files of [`StoreTlsConfig`]: the authorities, and the client certificate with its key.
    type TlsFiles = (Option<Vec<u8>>, Option<(Vec<u8>, Vec<u8>)>);

    impl StoreTlsConfig {
        /// Checks that the client certificate has its key.
        pub(in crate::config) fn check(&self) -> Result<(), InvalidSetting> {
            let (certificate, key) = (self.certificate.is_some(), self.key.is_some());
            check_pair(("tls.certificate", certificate), ("tls.key", key))
        }

        /// Reads the files.
        pub(in crate::config) fn read(&self) -> Result<TlsFiles, InvalidSetting> {
            let ca = self.ca.as_deref().map(|file| read("tls.ca", file)).transpose()?;
            let identity = match (&self.certificate, &self.key) {
                (Some(certificate), Some(key)) => {
                    Some((read("tls.certificate", certificate)?, read("tls.key", key)?))
                }
                _ => None,
            };
            Ok((ca, identity))
        }
    }

    /// Checks that both of two settings are set, or none.
    pub(in crate::config) fn check_pair(
        first: (&'static str, bool),
        second: (&'static str, bool),
    ) -> Result<(), InvalidSetting> {
        let (set, missing) = match (first.1, second.1) {
            (true, false) => (first.0, second.0),
            (false, true) => (second.0, first.0),
            _ => return Ok(()),
        };
        let problem = format!("missing, expected a value because {set} is set");
        Err(InvalidSetting { key: missing, problem })
    }

    /// Reads a file with a secret. A line break at its end does not count.
    pub(in crate::config) fn read_secret(
        key: &'static str,
        file: &Path,
        what: &str,
    ) -> Result<String, InvalidSetting> {
        let problem = format!("the {what} is not UTF-8");
        let secret = String::from_utf8(read(key, file)?);
        let secret = secret.map_err(|_| InvalidSetting { key, problem })?;
        Ok(secret.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, InvalidSetting> {
        let unreadable = |error| InvalidSetting {
            key,
            problem: format!("cannot read {}: {error}", file.display()),
        };
        read_regular(file, MAX_SIZE).map_err(unreadable)
    }
}
