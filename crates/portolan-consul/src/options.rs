//! How Consul is reached: URL, token, certificates.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use http::uri::Authority;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::Url;

use crate::ConsulError;
use crate::connector::Connector;

/// How Consul is reached.
#[derive(Clone)]
pub struct ConsulOptions {
    /// The URL of an agent: `http://` or `https://`, a host, and a port unless it is that of the scheme.
    pub url: String,
    /// The token; `None` is the anonymous one.
    pub token: Option<String>,
    /// The certificates, for `https://`.
    pub tls: ConsulTls,
}

/// The certificates of the connection, as PEM.
#[derive(Clone, Default)]
pub struct ConsulTls {
    /// The certificates of the authorities that sign those of the agents. Required for `https://`.
    pub ca: Option<Vec<u8>>,
    /// The client certificate with its chain, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// An agent's URL, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    /// As it is shown.
    pub(crate) url: String,
    pub(crate) scheme: &'static str,
    pub(crate) authority: Authority,
    host: String,
}

// === impl ConsulOptions ===

impl ConsulOptions {
    /// Checks the URL.
    ///
    /// # Errors
    ///
    /// If it is invalid.
    pub fn validate(&self) -> Result<(), ConsulError> {
        self.agent().map(drop)
    }

    /// Whether the URL asks for TLS.
    pub fn is_tls(&self) -> bool {
        self.agent().is_ok_and(|agent| agent.scheme == "https")
    }

    pub(crate) fn agent(&self) -> Result<Agent, ConsulError> {
        let invalid = |problem: &str| {
            let (url, problem) = (self.url.clone(), problem.to_owned());
            ConsulError::InvalidUrl { url, problem }
        };
        let url = Url::parse(&self.url).map_err(|error| invalid(&error.to_string()))?;
        let scheme = match url.scheme() {
            "http" => "http",
            "https" => "https",
            _ => return Err(invalid("it does not begin with http:// or https://")),
        };
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("it has a path"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it has a user"));
        }
        let host = url.host_str().ok_or_else(|| invalid("it has no host"))?.to_owned();
        let port = url.port_or_known_default().unwrap_or_default();
        let authority = format!("{host}:{port}").parse();
        let authority = authority.map_err(|_| invalid("its host is invalid"))?;
        Ok(Agent { url: self.url.trim_end_matches('/').to_owned(), scheme, authority, host })
    }

    pub(crate) fn token(&self) -> Result<Option<HeaderValue>, ConsulError> {
        let Some(token) = &self.token else { return Ok(None) };
        let mut value = HeaderValue::from_str(token).map_err(|_| ConsulError::InvalidToken)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    pub(crate) fn connector(&self) -> Result<Connector, ConsulError> {
        let agent = self.agent()?;
        if agent.scheme == "http" {
            return Ok(Connector::plain());
        }
        let host = agent.host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host)
            .map_err(|error| ConsulError::InvalidTls(error.to_string()))?;
        Ok(Connector::tls(self.tls.config()?, name))
    }
}

impl Default for ConsulOptions {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:8500".to_owned(), token: None, tls: ConsulTls::default() }
    }
}

impl fmt::Debug for ConsulOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulOptions").field("url", &self.url).finish_non_exhaustive()
    }
}

// === impl ConsulTls ===

impl ConsulTls {
    fn config(&self) -> Result<Arc<ClientConfig>, ConsulError> {
        let invalid =
            |what: &str, problem: String| ConsulError::InvalidTls(format!("{what}: {problem}"));
        let mut roots = RootCertStore::empty();
        for certificate in certificates("authorities", self.ca.as_deref().unwrap_or_default())? {
            let added = roots.add(certificate);
            added.map_err(|error| invalid("authorities", error.to_string()))?;
        }
        // Named, so that no default of the process is needed.
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConsulError::InvalidTls(error.to_string()))?
            .with_root_certificates(roots);
        let Some((chain, key)) = &self.identity else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let chain = certificates("client certificate", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key);
        let key = key.map_err(|error| invalid("key", error.to_string()))?;
        let config = builder.with_client_auth_cert(chain, key);
        Ok(Arc::new(config.map_err(|error| invalid("client certificate", error.to_string()))?))
    }
}

impl fmt::Debug for ConsulTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (has_ca, has_identity) = (self.ca.is_some(), self.identity.is_some());
        f.debug_struct("ConsulTls")
            .field("has_ca", &has_ca)
            .field("has_identity", &has_identity)
            .finish_non_exhaustive()
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConsulError> {
    let invalid = |problem: &str| ConsulError::InvalidTls(format!("{what}: {problem}"));
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|error| invalid(&error.to_string()))?;
    if read.is_empty() { Err(invalid("no certificate in the file")) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_urls_are_rejected() {
        let rejected = |url: &str| {
            let options = ConsulOptions { url: url.to_owned(), ..ConsulOptions::default() };
            options.validate().unwrap_err().to_string()
        };
        let urls = [
            "",
            "127.0.0.1:8500",
            "ftp://127.0.0.1:8500",
            "http://127.0.0.1:8500/v1",
            "http://127.0.0.1:99999",
            "http://user:secret@127.0.0.1:8500",
        ];
        insta::assert_snapshot!(urls.map(rejected).join("\n"));
        for url in ["http://localhost:8500/", "https://[::1]:8501", "http://consul.test"] {
            ConsulOptions { url: url.to_owned(), ..ConsulOptions::default() }.validate().unwrap();
        }
    }

    #[test]
    fn unusable_certificates_are_rejected() {
        let url = "https://127.0.0.1:8501".to_owned();
        let rejected = |tls: ConsulTls| {
            let options = ConsulOptions { url: url.clone(), tls, ..ConsulOptions::default() };
            options.connector().unwrap_err().to_string()
        };
        let ca = Some(b"no certificate".to_vec());
        let texts = [rejected(ConsulTls::default()), rejected(ConsulTls { ca, identity: None })];
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn token_is_not_shown() {
        let token = Some("secret".to_owned());
        let options = ConsulOptions { token, ..ConsulOptions::default() };
        assert!(!format!("{options:?} {:?}", options.token()).contains("secret"));
    }
}
