//! How to reach an etcd cluster.

use std::fmt;
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::EtcdError;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(1);
/// The interval of pings on a connection with an open stream. etcd ends a connection that pings more often
/// than every 5 s (`--grpc-keepalive-min-time`).
const PING: Duration = Duration::from_secs(6);
/// How long a ping may take.
const PONG: Duration = Duration::from_secs(3);

/// How to reach an etcd cluster, and as whom.
#[derive(Clone, Default)]
pub struct EtcdOptions {
    /// The URLs of the members, `http://` or `https://`.
    pub endpoints: Vec<String>,
    /// The user; `None` if the cluster has no authentication, or takes it from the client certificate.
    pub user: Option<EtcdUser>,
    /// The certificates, for `https://`.
    pub tls: EtcdTls,
}

/// A user of etcd.
#[derive(Clone)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

/// The certificates of the connection, as PEM.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// The certificates of the authorities that sign those of the members.
    pub ca: Option<Vec<u8>>,
    /// The client certificate with its chain, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

// === impl EtcdOptions ===

impl EtcdOptions {
    /// Checks the URLs and the certificates.
    ///
    /// # Errors
    ///
    /// If one is invalid.
    pub fn validate(&self) -> Result<(), EtcdError> {
        self.endpoints().map(drop)
    }

    /// Returns a channel to each endpoint, which connects when it is used.
    pub(crate) fn channels(&self) -> Result<Vec<(String, Channel)>, EtcdError> {
        let endpoints = self.endpoints()?.into_iter();
        Ok(endpoints.map(|(url, endpoint)| (url, endpoint.connect_lazy())).collect())
    }

    fn endpoints(&self) -> Result<Vec<(String, Endpoint)>, EtcdError> {
        if self.endpoints.is_empty() {
            return Err(EtcdError::NoEndpoint);
        }
        self.endpoints.iter().map(|url| Ok((url.clone(), self.endpoint(url)?))).collect()
    }

    fn endpoint(&self, url: &str) -> Result<Endpoint, EtcdError> {
        let invalid = |problem: String| EtcdError::InvalidEndpoint { url: url.to_owned(), problem };
        let endpoint = Endpoint::from_shared(url.to_owned());
        let endpoint = endpoint.map_err(|error| invalid(error.to_string()))?;
        let is_tls = match endpoint.uri().scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(invalid("it does not begin with http:// or https://".to_owned())),
        };
        if !matches!(endpoint.uri().path(), "" | "/") || endpoint.uri().query().is_some() {
            return Err(invalid("it has a path".to_owned()));
        }
        if endpoint.uri().port_u16().is_none() {
            return Err(invalid("it has no valid port".to_owned()));
        }
        let mut endpoint = endpoint
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        if is_tls {
            let tls = endpoint.tls_config(self.tls.config());
            endpoint = tls.map_err(|error| EtcdError::InvalidTls(innermost(&error)))?;
        }
        Ok(endpoint)
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

// === impl EtcdUser ===

impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl EtcdTls ===

impl EtcdTls {
    fn config(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new();
        if let Some(ca) = &self.ca {
            config = config.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        config
    }
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (has_ca, has_identity) = (self.ca.is_some(), self.identity.is_some());
        f.debug_struct("EtcdTls")
            .field("has_ca", &has_ca)
            .field("has_identity", &has_identity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_endpoints_are_rejected() {
        let rejected = |urls: &[&str]| {
            let endpoints = urls.iter().map(|url| (*url).to_owned()).collect();
            EtcdOptions { endpoints, ..EtcdOptions::default() }.validate().unwrap_err().to_string()
        };
        let texts = [
            rejected(&[]),
            rejected(&["http://127.0.0.1:2379", "127.0.0.1:2379"]),
            rejected(&["ftp://127.0.0.1:2379"]),
            rejected(&["http://127.0.0.1:2379/v3"]),
            rejected(&["http://127.0.0.1:99999"]),
        ];
        insta::assert_snapshot!(texts.join("\n"));
    }
}
