//! The PEM files of one side of a connection, and whether they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{FileStamp, Remedy, TlsConfig, read_regular, secret};
use tokio::time::Instant;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
};

use tracing::{info, warn};

use crate::TlsError;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The largest file in bytes: lists of revoked certificates grow.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// The files of a [`TlsConfig`], which are read again when they have changed.
#[derive(Debug)]
pub(crate) struct FollowedFiles {
    config: TlsConfig,
    stamp: FileStamp,
    looked: Instant,
}

// === impl FollowedFiles ===

impl FollowedFiles {
    /// Call it before the files are read, so that a change meanwhile is found later.
    pub(crate) fn new(config: TlsConfig) -> Self {
        let (stamp, looked) = (FileStamp::of(files(&config)), Instant::now());
        Self { config, stamp, looked }
    }

    pub(crate) fn config(&self) -> &TlsConfig {
        &self.config
    }

    /// Loads the files if they have changed since the last call. If they are invalid, the caller goes on with what it has.
    pub(crate) fn changed<T>(
        &mut self,
        load: impl FnOnce(&TlsConfig) -> Result<T, TlsError>,
    ) -> Option<T> {
        if self.looked.elapsed() < LOOK {
            return None;
        }
        self.looked = Instant::now();
        if !self.stamp.refresh(files(&self.config)) {
            return None;
        }
        match load(&self.config) {
            Ok(loaded) => {
                info!("Certificates loaded again");
                Some(loaded)
            }
            Err(error) => {
                let error = error.with_remedy();
                warn!(%error, "Changed certificates not used, the former ones stay in use");
                None
            }
        }
    }
}

fn files(config: &TlsConfig) -> impl Iterator<Item = &Path> {
    let TlsConfig { ca, certificate, key, crl } = config;
    [ca, certificate, key, crl].into_iter().flatten().map(PathBuf::as_path)
}

/// Named wherever it is needed, so that no default of the process is.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A certificate with its chain, and its key.
pub(crate) type KeyPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads the own certificate and key, if they are given.
pub(crate) fn read_identity(config: &TlsConfig) -> Result<Option<KeyPair>, TlsError> {
    match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            Ok(Some((read_certificates(certificate)?, read_key(key)?)))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(TlsError::Missing {
            what: "key of the certificate",
            remedy: "set the key beside the certificate",
        }),
        (None, Some(_)) => Err(TlsError::Missing {
            what: "certificate of the key",
            remedy: "set the certificate beside the key",
        }),
    }
}

/// Reads the authorities that are trusted; those of the system if none is given.
pub(crate) fn read_roots(ca: Option<&PathBuf>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return Ok(roots);
    };
    for certificate in read_certificates(file)? {
        roots.add(certificate).map_err(|error| TlsError::invalid(file, error))?;
    }
    Ok(roots)
}

/// Reads the lists of revoked certificates, if a file is given.
pub(crate) fn read_revocations(
    crl: Option<&PathBuf>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let Some(file) = crl else { return Ok(Vec::new()) };
    let read =
        CertificateRevocationListDer::pem_slice_iter(&read(file)?).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|error| TlsError::invalid(file, error))?;
    if read.is_empty() {
        return Err(TlsError::invalid(file, "it has no list of revoked certificates"));
    }
    Ok(read)
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_slice_iter(&read(file)?).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|error| TlsError::invalid(file, error))?;
    if read.is_empty() { Err(TlsError::invalid(file, "it has no certificate")) } else { Ok(read) }
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let metadata = fs::metadata(file).map_err(|error| TlsError::file("read", file, &error))?;
    if secret::is_exposed(metadata.mode(), metadata.uid()) {
        return Err(TlsError::OpenKey(file.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| TlsError::invalid(file, error))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    read_regular(file, MAX_SIZE).map_err(|error| TlsError::file("read", file, &error))
}
