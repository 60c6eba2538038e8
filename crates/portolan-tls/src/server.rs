//! The server's side.

use std::sync::Arc;

use parking_lot::Mutex;
use portolan_core::TlsConfig;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};

use crate::TlsError;
use crate::files::{FollowedFiles, provider, read_identity, read_revocations, read_roots};

/// What a server asks its clients for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing, or a certificate of the authorities if they are given: a client may have another credential.
    Optional,
    /// A certificate of the authorities.
    Required,
}

/// The certificate of a server. It follows its files.
#[derive(Debug)]
pub struct ServerTls(Mutex<Loaded>);

#[derive(Debug)]
struct Loaded {
    clients: ClientCertificates,
    files: FollowedFiles,
    server: Arc<ServerConfig>,
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files: the certificate and its key, and the authorities of clients if there are any.
    ///
    /// # Errors
    ///
    /// A file is missing or invalid, or the key can be read by everybody.
    pub fn load(config: TlsConfig, clients: ClientCertificates) -> Result<Self, TlsError> {
        Loaded::read(config, clients).map(Mutex::new).map(Self)
    }

    /// Reads other files, for the connections that come later.
    ///
    /// # Errors
    ///
    /// As for [`Self::load`]; the former ones stay in use.
    pub fn replace(&self, config: TlsConfig, clients: ClientCertificates) -> Result<(), TlsError> {
        let loaded = Loaded::read(config, clients)?;
        *self.0.lock() = loaded;
        Ok(())
    }

    /// Returns what accepts the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let Loaded { clients, files, server } = &mut *self.0.lock();
        if let Some(changed) = files.changed(|config| server_config(config, *clients)) {
            *server = changed;
        }
        TlsAcceptor::from(Arc::clone(server))
    }
}

// === impl Loaded ===

impl Loaded {
    fn read(config: TlsConfig, clients: ClientCertificates) -> Result<Self, TlsError> {
        let files = FollowedFiles::new(config);
        let server = server_config(files.config(), clients)?;
        Ok(Self { clients, files, server })
    }
}

fn server_config(
    config: &TlsConfig,
    clients: ClientCertificates,
) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = read_identity(config)?.ok_or(TlsError::Missing {
        what: "certificate of the server",
        remedy: "set the certificate and its key, such as those that `portolan ca issue` makes",
    })?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::library)?
        .with_client_cert_verifier(verifier(config, clients)?);
    let server = builder.with_single_cert(chain, key);
    let file = config.certificate.clone().unwrap_or_default();
    let mut server = server.map_err(|error| TlsError::invalid(&file, error))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    if config.ca.is_some() {
        // A resumed session has the certificate of the first one, which may have ended since then: RFC 8446, section 4.6.1, leaves
        // that to the server.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    }
    Ok(Arc::new(server))
}

fn verifier(
    config: &TlsConfig,
    clients: ClientCertificates,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if config.ca.is_none() {
        return match clients {
            ClientCertificates::Optional => Ok(Arc::new(NoClientAuth)),
            ClientCertificates::Required => Err(TlsError::Missing {
                what: "authority of the clients' certificates",
                remedy: "set ca to the certificates of the authorities that sign those of clients",
            }),
        };
    }
    let roots = Arc::new(read_roots(config.ca.as_ref())?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .with_crls(read_revocations(config.crl.as_ref())?)
        // A list names the certificates of one authority; others are not revoked by it.
        .allow_unknown_revocation_status()
        .only_check_end_entity_revocation();
    let builder = match clients {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        ClientCertificates::Required => builder,
    };
    builder
        .build()
        .map(|verifier| verifier as Arc<dyn ClientCertVerifier>)
        .map_err(TlsError::library)
}
