//! The session of a connection.

use std::fmt;
use std::time::Duration;

use redis::RedisConnectionInfo;

use crate::link::Transport;

/// How sessions are opened: credentials, the database, and how long an answer may take.
#[derive(Clone)]
pub struct RedisSettings {
    pub(crate) session: RedisConnectionInfo,
    pub(crate) response_timeout: Option<Duration>,
    pub(crate) identity_key: Option<String>,
    pub(crate) transport: Transport,
}

// === impl RedisSettings ===

impl RedisSettings {
    /// Opens sessions with these credentials and this database. A server without a password, or with another one, refuses
    /// them, so credentials of its own keep a service from being confused with another one.
    pub fn new(session: RedisConnectionInfo) -> Self {
        Self { session, ..Self::default() }
    }

    /// Sets how long an answer may take, `None` for ever, as for blocking commands. Default 5 s.
    pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets the key whose value identifies the data of the service, for the
    /// [`ClusterPin`](crate::ClusterPin): Redis itself has no identity that outlives a restart. Default none.
    pub fn identity_key(mut self, key: impl Into<String>) -> Self {
        self.identity_key = Some(key.into());
        self
    }
}

impl RedisSettings {
    /// Encrypts the connections, and authenticates the servers: the certificate of each must have this name, a host name or an
    /// IP address, and be signed by the authority `ca`, or one of the system. A certificate and its key are this client's. The
    /// files are read again when they have changed.
    ///
    /// # Errors
    ///
    /// A file is missing or invalid, the key can be read by everybody, or the name cannot be in a certificate.
    #[cfg(feature = "tls")]
    pub fn tls(
        mut self,
        config: portolan_core::TlsConfig,
        name: &str,
    ) -> Result<Self, portolan_tls::TlsError> {
        let tls = portolan_tls::ServiceTls::load(config, name, &[])?;
        self.transport = Transport::Tls(std::sync::Arc::new(tls));
        Ok(self)
    }
}

impl Default for RedisSettings {
    fn default() -> Self {
        let session = RedisConnectionInfo::default();
        Self {
            session,
            response_timeout: Some(Duration::from_secs(5)),
            identity_key: None,
            transport: Transport::default(),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The session has the password.
        f.debug_struct("RedisSettings")
            .field("response_timeout", &self.response_timeout)
            .field("identity_key", &self.identity_key)
            .finish_non_exhaustive()
    }
}
