//! The TLS of checks: which authorities they trust, and the name that a certificate must have.

#[cfg(feature = "tls")]
mod connect;

#[cfg(feature = "tls")]
use parking_lot::Mutex;
use portolan_core::{TlsConfig, quoted};

use crate::CheckOptions;

/// The option of a kind of check that uses TLS.
pub(crate) const SERVER_NAME: &str = "server_name";

/// What all checks of a monitor share: the authorities that they trust, and their certificate.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "no check uses TLS in this build"))]
pub(crate) struct CheckTls {
    config: TlsConfig,
    /// `None` until the first check that uses TLS.
    #[cfg(feature = "tls")]
    loaded: Mutex<Option<connect::Loaded>>,
}

/// That a check uses TLS, and for which name.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "no check uses TLS in this build"))]
pub(crate) struct TlsUse {
    /// The name in the certificate, if it is not the host.
    server_name: Option<Box<str>>,
}

/// Why there is no TLS over a connection.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "no check uses TLS in this build"))]
pub(crate) enum TlsFailure {
    /// Says nothing about the instance.
    #[error("not checked, because health.tls cannot be used: {0}")]
    Config(String),
    #[error("{0}")]
    Certificate(String),
    #[error("the TLS handshake failed{}", .0.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Handshake(Option<String>),
}

// === impl CheckTls ===

impl CheckTls {
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::needless_update, reason = "there are no other fields in this build")
    )]
    pub(crate) fn new(config: TlsConfig) -> Self {
        Self { config, ..Self::default() }
    }
}

// === impl TlsUse ===

impl TlsUse {
    /// Reads the options of TLS.
    ///
    /// # Errors
    ///
    /// The name is invalid, or this build has no TLS.
    pub(crate) fn parse(options: &mut CheckOptions) -> Result<Self, String> {
        if !cfg!(feature = "tls") {
            return Err("TLS is not built into this version: install a release of Portolan, or build it with `cargo build \
                        --release -p portolan-cli --features full`"
                .to_owned());
        }
        let server_name = options.text(SERVER_NAME).map(server_name).transpose()?;
        Ok(Self { server_name })
    }
}

fn server_name(text: &str) -> Result<Box<str>, String> {
    match text.parse::<portolan_core::Host>() {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(format!("{SERVER_NAME}: {} is not the name of a host", quoted(text))),
    }
}

#[cfg(not(feature = "tls"))]
impl TlsUse {
    /// Never called, because no check with TLS can be parsed.
    pub(crate) async fn connect(
        &self,
        _: tokio::net::TcpStream,
        _: &str,
        _: &[&[u8]],
        _: &crate::Target,
    ) -> Result<crate::reach::Stream, TlsFailure> {
        Err(TlsFailure::Handshake(None))
    }
}
