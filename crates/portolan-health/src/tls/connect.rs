//! The handshake.

use std::io;
use std::sync::Arc;

use portolan_core::Remedy;
use portolan_tls::{ClientConfig, ClientTls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, Error};
use tracing::warn;

use super::{CheckTls, SERVER_NAME, TlsFailure, TlsUse};
use crate::Target;
use crate::reach::Stream;

/// The settings in use, and the files that they come from.
#[derive(Debug)]
pub(super) struct Loaded {
    files: ClientTls,
    client: Arc<ClientConfig>,
}

// === impl TlsUse ===

impl TlsUse {
    /// Authenticates the server, for the host that was connected to unless another name is given.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        protocols: &[&[u8]],
        target: &Target,
    ) -> Result<Stream, TlsFailure> {
        let mut client = target.tls.client()?;
        if !protocols.is_empty() {
            let protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::make_mut(&mut client).alpn_protocols = protocols;
        }
        let name = self.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsFailure::Certificate(format!("no certificate can be for {name}")))?;
        match TlsConnector::from(client).connect(server, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(failure(&error, name, target.reach.is_restricted())),
        }
    }
}

// === impl CheckTls ===

impl CheckTls {
    /// Returns the settings, with what their files have by now.
    fn client(&self) -> Result<Arc<ClientConfig>, TlsFailure> {
        let mut loaded = self.loaded.lock();
        if let Some(loaded) = &mut *loaded {
            if let Some(client) = loaded.files.changed() {
                loaded.client = client;
            }
            return Ok(Arc::clone(&loaded.client));
        }
        let (files, client) = ClientTls::load(self.config.clone()).map_err(|error| {
            warn!(error = error.with_remedy(), "Certificates of health checks not usable");
            TlsFailure::Config(error.to_string())
        })?;
        *loaded = Some(Loaded { files, client: Arc::clone(&client) });
        Ok(client)
    }
}

/// Says what is wrong with a certificate, without what is in it: clients of a registry may not be allowed to ask that server.
fn failure(error: &io::Error, name: &str, is_restricted: bool) -> TlsFailure {
    let library = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(problem)) = library else {
        return TlsFailure::Handshake((!is_restricted).then(|| error.to_string()));
    };
    TlsFailure::Certificate(match problem {
        // Another authority of the same name has another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no trusted authority has signed the certificate of the server; health.tls.ca names one"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate of the server has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate of the server is not valid yet".to_owned()
        }
        CertificateError::Revoked => "the certificate of the server is revoked".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the certificate of the server is not for {name}; the option {SERVER_NAME} sets another name"
            )
        }
        _ if is_restricted => "the certificate of the server is invalid".to_owned(),
        problem => format!("the certificate of the server is invalid: {problem:?}"),
    })
}
