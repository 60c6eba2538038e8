//! The client's side.

use std::sync::Arc;

use portolan_core::TlsConfig;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::TlsError;
use crate::files::{FollowedFiles, provider, read_identity, read_revocations, read_roots};

/// The trusted authorities of a client, and its certificate if it has one. It follows its files.
#[derive(Debug)]
pub struct ClientTls(FollowedFiles);

// === impl ClientTls ===

impl ClientTls {
    /// Reads the files. Without `ca` the authorities of the system are trusted.
    ///
    /// # Errors
    ///
    /// A file is missing or invalid, or the key can be read by everybody.
    pub fn load(config: TlsConfig) -> Result<(Self, Arc<ClientConfig>), TlsError> {
        let files = FollowedFiles::new(config);
        let client = client_config(files.config())?;
        Ok((Self(files), client))
    }

    /// Returns the settings of the next connections if the files have changed since the last call. If the files are
    /// invalid, the former ones stay in use.
    pub fn changed(&mut self) -> Option<Arc<ClientConfig>> {
        self.0.changed(client_config)
    }
}

/// Settings with which every server is rejected, for clients that use no TLS.
pub fn trusting_nobody() -> ClientConfig {
    let versions =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = versions.expect("the provider supports TLS 1.2 and 1.3");
    builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn client_config(config: &TlsConfig) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = Arc::new(read_roots(config.ca.as_ref())?);
    if roots.is_empty() {
        return Err(TlsError::Missing {
            what: "authority of the server's certificate",
            remedy: "set ca to the certificate of the authority, such as the ca.pem of `portolan ca init`",
        });
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .with_crls(read_revocations(config.crl.as_ref())?)
        .allow_unknown_revocation_status()
        .only_check_end_entity_revocation()
        .build()
        .map_err(TlsError::library)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::library)?
        .with_webpki_verifier(verifier);
    let Some((chain, key)) = read_identity(config)? else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let file = config.certificate.clone().unwrap_or_default();
    let client = builder.with_client_auth_cert(chain, key);
    client.map(Arc::new).map_err(|error| TlsError::invalid(&file, error))
}
