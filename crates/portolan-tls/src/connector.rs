//! Connections to servers whose certificates have one name.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use portolan_core::TlsConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsConnector, client};

use crate::{ClientTls, TlsError};

/// Encrypts connections to the instances of a service, and authenticates them by a name that their certificates share: an
/// instance is found by its address, which says nothing about who it is. It follows its files.
#[derive(Debug)]
pub struct ServiceTls {
    name: ServerName<'static>,
    protocols: Vec<Vec<u8>>,
    loaded: Mutex<(ClientTls, Arc<ClientConfig>)>,
}

// === impl ServiceTls ===

impl ServiceTls {
    /// Reads the files. `name` is a host name or an IP address in the certificate of every instance; `protocols` are those
    /// that are offered (ALPN, RFC 7301), such as `h2`.
    ///
    /// # Errors
    ///
    /// A file is missing or invalid, the key can be read by everybody, or the name cannot be in a certificate.
    pub fn load(config: TlsConfig, name: &str, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        let invalid = |error: &dyn std::fmt::Display| TlsError::InvalidName {
            name: name.to_owned(),
            problem: error.to_string(),
        };
        let server = ServerName::try_from(name.to_owned()).map_err(|error| invalid(&error))?;
        let protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let loaded = Mutex::new(ClientTls::load(config)?);
        Ok(Self { name: server, protocols, loaded })
    }

    /// Returns the name that the certificates must have.
    pub fn name(&self) -> String {
        self.name.to_str().into_owned()
    }

    /// Authenticates the server at the other end of a connection.
    ///
    /// # Errors
    ///
    /// The connection breaks, or the certificate is not trusted or has another name.
    pub async fn connect<S>(&self, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut client = self.current();
        if !self.protocols.is_empty() {
            Arc::make_mut(&mut client).alpn_protocols.clone_from(&self.protocols);
        }
        TlsConnector::from(client).connect(self.name.clone(), stream).await
    }

    /// Returns the settings, with what their files have by now.
    fn current(&self) -> Arc<ClientConfig> {
        let (files, client) = &mut *self.loaded.lock();
        if let Some(changed) = files.changed() {
            *client = changed;
        }
        Arc::clone(client)
    }
}
