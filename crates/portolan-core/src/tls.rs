//! The settings of TLS: which PEM files one side of a connection uses.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The PEM files of one side of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The authorities that sign the certificates of the other side. A client without it trusts those of the system; a
    /// server without it asks for no certificate.
    pub ca: Option<PathBuf>,
    /// The own certificate, followed by its chain.
    pub certificate: Option<PathBuf>,
    /// The key of the own certificate, readable by its owner or group only.
    pub key: Option<PathBuf>,
    /// The lists of certificates that their authorities have revoked (RFC 5280). Default none.
    pub crl: Option<PathBuf>,
}

/// The PEM files of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTlsConfig {
    /// The certificate, followed by its chain.
    pub certificate: Option<PathBuf>,
    /// The key of the certificate, readable by its owner or group only.
    pub key: Option<PathBuf>,
    /// The authorities that sign the certificates of clients. Default none: clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// The lists of certificates that their authorities have revoked (RFC 5280). Default none.
    pub crl: Option<PathBuf>,
}

// === impl ServerTlsConfig ===

impl From<ServerTlsConfig> for TlsConfig {
    fn from(config: ServerTlsConfig) -> Self {
        let ServerTlsConfig { certificate, key, client_ca, crl } = config;
        Self { ca: client_ca, certificate, key, crl }
    }
}

// === impl TlsConfig ===

impl TlsConfig {
    /// Whether no file is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
