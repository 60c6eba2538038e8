//! How the registry's own port is served: plain, or with TLS.

use std::borrow::Cow;
use std::future::Future;

use portolan_core::{Remedy, ServerTlsConfig};
use portolan_http::{Dialect, HttpState, ServeError};
use portolan_registry::RegistryConfig;
use tokio::net::TcpListener;

/// How a connection to the registry's port is made ready for HTTP.
#[derive(Debug, Clone)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "full")]
    Tls(std::sync::Arc<portolan_tls::ServerTls>),
}

/// Why the registry cannot serve TLS. Do not retry before a setting or a file has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("service_registry.tls: {problem}")]
pub struct InvalidTls {
    problem: String,
    remedy: Option<String>,
}

/// Reads the certificates of the registry, as it does when it starts.
///
/// # Errors
///
/// A file is missing or invalid, or TLS is not built in.
pub fn check_certificates(config: &RegistryConfig) -> Result<(), InvalidTls> {
    Transport::from_config(config).map(drop)
}

// === impl InvalidTls ===

impl Remedy for InvalidTls {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        self.remedy.clone().map(Into::into)
    }
}

// === impl Transport ===

impl Transport {
    /// Reads the certificates, if any are configured.
    pub(crate) fn from_config(config: &RegistryConfig) -> Result<Self, InvalidTls> {
        if uses_tls(config) { Self::with_tls(config) } else { Ok(Self::Plain) }
    }

    /// Checks that other settings can be used without a restart.
    pub(crate) fn check_change(
        old: &RegistryConfig,
        new: &RegistryConfig,
    ) -> Result<(), InvalidTls> {
        let changed = Self::from_config(new)?;
        // Without `full`, there is no TLS.
        if uses_tls(old) == uses_tls(new) {
            return Ok(());
        }
        Err(InvalidTls {
            problem: format!("the server would serve {}:// at the same address", changed.scheme()),
            remedy: Some("restart it".to_owned()),
        })
    }

    /// Uses other certificates for the connections that come later.
    #[cfg(feature = "full")]
    pub(crate) fn replace(&self, config: &RegistryConfig) -> Result<(), InvalidTls> {
        match self {
            Self::Plain => Ok(()),
            Self::Tls(tls) => tls
                .replace(config.tls.clone().into(), client_certificates(config))
                .map_err(|error| invalid(&error)),
        }
    }

    /// Without TLS there is nothing to replace.
    #[cfg(not(feature = "full"))]
    pub(crate) fn replace(&self, _config: &RegistryConfig) -> Result<(), InvalidTls> {
        let Self::Plain = self;
        Ok(())
    }

    #[cfg(feature = "full")]
    fn with_tls(config: &RegistryConfig) -> Result<Self, InvalidTls> {
        let tls =
            portolan_tls::ServerTls::load(config.tls.clone().into(), client_certificates(config))
                .map_err(|error| invalid(&error))?;
        Ok(Self::Tls(std::sync::Arc::new(tls)))
    }

    #[cfg(not(feature = "full"))]
    fn with_tls(_config: &RegistryConfig) -> Result<Self, InvalidTls> {
        Err(InvalidTls {
            problem: "TLS is not built into this version".to_owned(),
            remedy: Some(
                "install a release of Portolan, which has it, or build it with `cargo build --release -p portolan-cli \
                 --features full`"
                    .to_owned(),
            ),
        })
    }

    /// The scheme of the registry's URL.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Plain => "http",
            #[cfg(feature = "full")]
            Self::Tls(_) => "https",
        }
    }

    /// Serves HTTP until `shutdown`.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        dialects: Vec<Dialect>,
        state: HttpState,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        match self {
            Self::Plain => portolan_http::serve(listener, dialects, state, shutdown).await,
            #[cfg(feature = "full")]
            Self::Tls(tls) => {
                let listener = portolan_http::TlsListener::new(listener, tls);
                portolan_http::serve(listener, dialects, state, shutdown).await
            }
        }
    }
}

fn uses_tls(config: &RegistryConfig) -> bool {
    config.tls != ServerTlsConfig::default() || config.require_client_certificate
}

#[cfg(feature = "full")]
fn client_certificates(config: &RegistryConfig) -> portolan_tls::ClientCertificates {
    use portolan_tls::ClientCertificates::{Optional, Required};
    if config.require_client_certificate { Required } else { Optional }
}

#[cfg(feature = "full")]
fn invalid(error: &portolan_tls::TlsError) -> InvalidTls {
    InvalidTls { problem: error.to_string(), remedy: error.remedy().map(Cow::into_owned) }
}
