//! The connections to the servers of a registry, and the certificates that they use.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
#[cfg(feature = "tls")]
use portolan_core::Remedy;
use portolan_core::TlsConfig;
#[cfg(feature = "tls")]
use portolan_tls::{ClientConfig, ClientTls};
use reqwest::header::HeaderMap;
use tracing::debug;

use super::error::RegistryClientError;

/// A client by TCP, with TLS for `https://`. It follows the files of its certificates.
pub(super) struct Transport {
    headers: HeaderMap,
    timeout: Duration,
    config: TlsConfig,
    open: Mutex<Open>,
}

struct Open {
    http: reqwest::Client,
    /// `None` until the first use of TLS is prepared, and without it.
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
}

// === impl Transport ===

impl Transport {
    /// Creates a client, which connects by its first use.
    ///
    /// # Errors
    ///
    /// The certificates cannot be used, if there is an `https://` URL.
    pub(super) fn new(
        headers: HeaderMap,
        timeout: Duration,
        config: TlsConfig,
        uses_tls: bool,
    ) -> Result<Self, RegistryClientError> {
        let open = Mutex::new(Open::new(&headers, timeout, &config, uses_tls)?);
        Ok(Self { headers, timeout, config, open })
    }

    /// Returns the client for the next request.
    pub(super) fn client(&self) -> reqwest::Client {
        self.open.lock().current(&self.headers, self.timeout)
    }

    /// Drops the connections.
    pub(super) fn reconnect(&self) {
        let mut open = self.open.lock();
        match Open::new(&self.headers, self.timeout, &self.config, open.uses_tls()) {
            Ok(new) => *open = new,
            Err(error) => debug!(%error, "Connections to the registry kept"),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("config", &self.config).finish_non_exhaustive()
    }
}

// === impl Open ===

#[cfg(feature = "tls")]
impl Open {
    fn new(
        headers: &HeaderMap,
        timeout: Duration,
        config: &TlsConfig,
        uses_tls: bool,
    ) -> Result<Self, RegistryClientError> {
        let builder = builder(headers, timeout);
        if !uses_tls {
            return Ok(Self { http: builder.build().map_err(unusable)?, tls: None });
        }
        let loaded = ClientTls::load(config.clone());
        let (tls, client) = loaded.map_err(|error| {
            let remedy = error.remedy().map(std::borrow::Cow::into_owned);
            RegistryClientError::InvalidTls { problem: error.to_string(), remedy }
        })?;
        Ok(Self { http: tls_client(builder, &client).map_err(unusable)?, tls: Some(tls) })
    }

    /// Returns the client, with the certificates that its files have by now.
    fn current(&mut self, headers: &HeaderMap, timeout: Duration) -> reqwest::Client {
        if let Some(changed) = self.tls.as_mut().and_then(ClientTls::changed) {
            match tls_client(builder(headers, timeout), &changed) {
                Ok(http) => self.http = http,
                Err(error) => debug!(%error, "Certificates of the registry's client not replaced"),
            }
        }
        self.http.clone()
    }

    fn uses_tls(&self) -> bool {
        self.tls.is_some()
    }
}

#[cfg(not(feature = "tls"))]
impl Open {
    fn new(
        headers: &HeaderMap,
        timeout: Duration,
        _config: &TlsConfig,
        _uses_tls: bool,
    ) -> Result<Self, RegistryClientError> {
        Ok(Self { http: builder(headers, timeout).build().map_err(unusable)? })
    }

    fn current(&self, _headers: &HeaderMap, _timeout: Duration) -> reqwest::Client {
        self.http.clone()
    }

    fn uses_tls(&self) -> bool {
        false
    }
}

#[cfg(feature = "tls")]
fn tls_client(
    builder: reqwest::ClientBuilder,
    config: &ClientConfig,
) -> reqwest::Result<reqwest::Client> {
    builder.tls_backend_preconfigured(config.clone()).build()
}

/// Creates a client of the server behind a Unix socket.
pub(super) fn socket_client(
    headers: &HeaderMap,
    timeout: Duration,
    socket: &Path,
) -> reqwest::Result<reqwest::Client> {
    let builder = builder(headers, timeout);
    #[cfg(unix)]
    let builder = builder.unix_socket(socket);
    #[cfg(not(unix))]
    let _ = socket;
    builder.build()
}

fn builder(headers: &HeaderMap, timeout: Duration) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder();
    // Otherwise each client would read the authorities of the system, also for `http://`.
    #[cfg(feature = "tls")]
    let builder = builder.tls_backend_preconfigured(portolan_tls::trusting_nobody());
    builder
        .default_headers(headers.clone())
        .connect_timeout(timeout)
        // A proxy of the environment is meant for the web, and a redirect would send the token
        // to another host.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` passes it")]
fn unusable(error: reqwest::Error) -> RegistryClientError {
    RegistryClientError::InvalidTls { problem: error.to_string(), remedy: None }
}
