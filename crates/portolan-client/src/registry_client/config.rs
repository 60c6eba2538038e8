//! The settings of a registry client: how it is reached, and what every request carries.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use portolan_broadcast::network_id;
use portolan_core::{NETWORK_ID_HEADER, Secret, TlsConfig};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};

use super::error::RegistryClientError;
use super::srv;

/// The settings of a registry client.
#[derive(Clone, PartialEq)]
pub struct RegistryClientConfig {
    /// The registry's URL, such as `http://localhost:7000`; or those of several servers over one store, separated
    /// by commas. `http+srv://example.org` stands for the servers that the SRV records of
    /// `_portolan._tcp.example.org` name.
    pub url: String,
    /// The bearer token, if the registry requires one.
    pub token: Option<Secret>,
    /// The file that the token comes from: when the registry refuses the token, it is read again.
    pub token_file: Option<PathBuf>,
    /// How long one request may take, from connecting to the last byte. Default 5 s; a registry
    /// answers within milliseconds.
    pub timeout: Duration,
    /// The name servers of SRV records. Default empty: those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// The certificates of `https://`. Default: the authorities of the system, and no own certificate.
    pub tls: TlsConfig,
}

// === impl RegistryClientConfig ===

impl RegistryClientConfig {
    /// Returns the settings for the registry at this URL, without a token.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

impl Default for RegistryClientConfig {
    fn default() -> Self {
        let url = format!("http://localhost:{}", portolan_core::REGISTRY_PORT);
        Self {
            url,
            token: None,
            token_file: None,
            timeout: Duration::from_secs(5),
            dns_servers: Vec::new(),
            tls: TlsConfig::default(),
        }
    }
}

impl fmt::Debug for RegistryClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClientConfig")
            .field("url", &self.url)
            .field("token", &self.token.as_ref().map(|_| "(secret)"))
            .field("token_file", &self.token_file)
            .field("timeout", &self.timeout)
            .field("dns_servers", &self.dns_servers)
            .field("tls", &self.tls)
            .finish()
    }
}

/// Parses the URL of one server.
pub(super) fn base_url(text: &str) -> Result<Url, RegistryClientError> {
    let url = Url::parse(text)
        .map_err(|error| RegistryClientError::invalid_url(text, error.to_string()))?;
    match url.scheme() {
        "http" | srv::SCHEME => {}
        "https" if cfg!(feature = "tls") => {}
        "https+srv" => {
            let reason = "SRV records name addresses, and a certificate names hosts: list the https:// URLs of the servers";
            return Err(RegistryClientError::invalid_url(text, reason));
        }
        "https" => {
            let reason = "TLS is not built into this version: install a release of Portolan, or build it with `cargo \
                          build --release -p portolan-cli --features full`";
            return Err(RegistryClientError::invalid_url(text, reason));
        }
        _ => {
            let reason = "it does not begin with http:// or https://";
            return Err(RegistryClientError::invalid_url(text, reason));
        }
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RegistryClientError::invalid_url(text, "a token does not belong in the URL"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(RegistryClientError::invalid_url(text, "it has a '?' or a '#'"));
    }
    Ok(url)
}

/// The headers of every request, without the token.
pub(super) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(id) = network_id() {
        headers.insert(NETWORK_ID_HEADER, HeaderValue::from_static(id));
    }
    headers
}
