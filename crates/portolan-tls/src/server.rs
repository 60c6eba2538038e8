//! The server's side.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portolan_core::{Remedy, TlsConfig};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoClientAuth, WebPkiClientVerifier};
use tracing::{info, warn};

use crate::TlsError;
use crate::files::{Stamp, provider, read_identity, read_revocations, read_roots};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

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
pub struct ServerTls {
    config: TlsConfig,
    clients: ClientCertificates,
    loaded: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    server: Arc<ServerConfig>,
    stamp: Stamp,
    looked: Instant,
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files: the certificate and its key, and the authorities of clients if there are any.
    ///
    /// # Errors
    ///
    /// A file is missing or invalid, or the key can be read by everybody.
    pub fn load(config: TlsConfig, clients: ClientCertificates) -> Result<Self, TlsError> {
        // Before the files are read, so that a change meanwhile is found later.
        let (stamp, looked) = (Stamp::of(&config), Instant::now());
        let server = server_config(&config, clients)?;
        let loaded = ArcSwap::from_pointee(Loaded { server, stamp, looked });
        Ok(Self { config, clients, loaded })
    }

    /// Returns what accepts the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.follow();
        TlsAcceptor::from(Arc::clone(&self.loaded.load().server))
    }

    /// Reads the files again if they have changed. If they are invalid, the former ones stay in use.
    fn follow(&self) {
        let loaded = self.loaded.load_full();
        if loaded.looked.elapsed() < LOOK {
            return;
        }
        let (stamp, looked) = (Stamp::of(&self.config), Instant::now());
        let mut server = Arc::clone(&loaded.server);
        if stamp != loaded.stamp {
            match server_config(&self.config, self.clients) {
                Ok(changed) => {
                    info!("Certificates loaded again");
                    server = changed;
                }
                Err(error) => {
                    let error = error.with_remedy();
                    warn!(%error, "Changed certificates not used, the former ones stay in use");
                }
            }
        }
        self.loaded.store(Arc::new(Loaded { server, stamp, looked }));
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
