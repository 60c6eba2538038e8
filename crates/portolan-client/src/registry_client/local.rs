//! A registry on this host: reached by its Unix socket, or by TCP if this user or root listens there.
//!
//! Any user can listen on a port of loopback, before the registry or while it is down. The socket lies where only this user
//! and root can put one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Url;
use reqwest::header::HeaderMap;
use tracing::{debug, warn};

use super::error::RegistryClientError;
use super::transport::socket_client;
use crate::reservations::Reservations;

/// How registries on this host are reached.
#[derive(Clone)]
pub(super) struct Local {
    host: Arc<dyn Reservations>,
    /// The clients of the sockets by the host and the port of the registry.
    open: Arc<Mutex<BTreeMap<(String, u16), reqwest::Client>>>,
    /// Whether the listener was looked at although it gets no token.
    is_noted: Arc<AtomicBool>,
}

// === impl Local ===

impl Local {
    pub(super) fn new(host: Arc<dyn Reservations>) -> Self {
        Self { host, open: Arc::default(), is_noted: Arc::default() }
    }

    /// Returns the client of the registry's socket; `None` if it has none, or is on another host.
    pub(super) fn socket(
        &self,
        base: &Url,
        headers: &HeaderMap,
        timeout: Duration,
    ) -> Option<reqwest::Client> {
        // Behind a path there is a proxy, and with `https://` the certificate is to be checked.
        if base.path() != "/" || base.scheme() != "http" {
            return None;
        }
        let (host, port) = (base.host_str()?, port_of(base)?);
        let (mut open, key) = (self.open.lock(), (host.to_owned(), port));
        if let Some(client) = open.get(&key) {
            return Some(client.clone());
        }
        let path = self.host.registry_socket(addresses_of(host), port)?;
        match socket_client(headers, timeout, &path) {
            Ok(client) => {
                open.insert(key, client.clone());
                Some(client)
            }
            Err(error) => {
                debug!(%error, "Socket of the registry not used");
                None
            }
        }
    }

    /// The socket did not answer: it is looked for again by the next request.
    pub(super) fn forget(&self) {
        self.open.lock().clear();
    }

    /// Warns, once, if the registry's port on this host belongs to another user, who learns every request and makes up every
    /// answer.
    pub(super) fn note_listener(&self, base: &Url) {
        if self.is_noted.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(RegistryClientError::ForeignListener { url, user }) = self.check_listener(base) {
            warn!(
                %url, %user,
                "The registry belongs to another user of this host: if you trust its answers, set discovery.registry_user"
            );
        }
    }

    /// Fails if the registry's port on this host belongs to another user, who would get the token.
    pub(super) fn check_listener(&self, base: &Url) -> Result<(), RegistryClientError> {
        let needs_check = is_loopback(base) && base.scheme() == "http";
        let Some(port) = port_of(base).filter(|_| needs_check) else { return Ok(()) };
        match self.host.foreign_listener(port) {
            Some(user) => Err(RegistryClientError::ForeignListener {
                url: super::servers::without_slash(base),
                user,
            }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// Returns the addresses of listeners that a connection to this host reaches, the more specific ones first. Other addresses of loopback may
/// have other servers.
fn addresses_of(host: &str) -> &'static [IpAddr] {
    const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match host {
        "localhost" => &[V4, V6, ANY_V4, ANY_V6],
        "127.0.0.1" => &[V4, ANY_V4, ANY_V6],
        "[::1]" => &[V6, ANY_V6],
        _ => &[],
    }
}

fn port_of(base: &Url) -> Option<u16> {
    base.port_or_known_default()
}

pub(super) fn is_loopback(base: &Url) -> bool {
    let Some(host) = base.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback() || address.is_unspecified(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_other_hosts() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        for local in
            ["http://localhost:7000", "http://127.0.0.1", "http://[::1]:7000", "http://0.0.0.0:1"]
        {
            assert!(is_loopback(&url(local)), "{local}");
        }
        for other in ["http://10.0.0.1:7000", "http://localhost.example:7000"] {
            assert!(!is_loopback(&url(other)), "{other}");
        }
        assert_eq!(port_of(&url("http://localhost")), Some(80));
    }
}
