//! Where the checks of an instance may connect to.
//!
//! The registrant of an instance chooses the URL of its check. A registry that requested any URL could be used to send requests
//! to hosts that only it can reach (server-side request forgery), or to find their open ports. So its checks connect only to
//! the host that registered the instance, and to networks that are configured. The name in a URL is resolved once for each
//! check, and the connection goes to the address that was examined.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use portolan_core::IpNetwork;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

/// Where the checks of an instance may connect to.
#[derive(Debug, Clone, Default)]
pub enum CheckReach {
    /// Anywhere: the check is this program's own.
    #[default]
    Anywhere,
    /// The host that registered the instance, and the configured networks.
    Registrant(RegistrantReach),
}

/// The host that registered an instance, and the networks in which everyone's instances may be checked.
#[derive(Debug, Clone)]
pub struct RegistrantReach {
    registrant: Option<IpAddr>,
    allowed: Arc<[IpNetwork]>,
}

/// A connection, with or without TLS.
pub(crate) type Stream = Box<dyn ByteStream>;

/// What a check reads from and writes to.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection, and to whom.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    /// Whether it leads to the address that registered the instance, or the check is this program's own. Otherwise it leads to a
    /// network that is allowed, which its registrant may not reach.
    pub(crate) is_of_registrant: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Says nothing about the instance.
    #[error(
        "not checked, because it is not at the address that registered it; add its network to health.allowed_networks \
         of the registry, or let its agent check it"
    )]
    OutOfReach,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

// === impl CheckReach ===

impl CheckReach {
    /// Whether the instance is another's, so that what it answers is not passed on.
    pub(crate) fn is_restricted(&self) -> bool {
        matches!(self, Self::Registrant(_))
    }

    /// Connects to the first address of the authority that accepts.
    pub(crate) async fn connect(&self, authority: &str) -> Result<Connected, ConnectError> {
        let reach = match self {
            Self::Anywhere => {
                let stream = TcpStream::connect(authority).await?;
                return Ok(Connected { stream, is_of_registrant: true });
            }
            Self::Registrant(reach) => reach,
        };
        let mut failed = None;
        for address in lookup_host(authority).await? {
            if !reach.allows(address.ip()) {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let is_of_registrant = reach.is_registrant(address.ip());
                    return Ok(Connected { stream, is_of_registrant });
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.map_or(ConnectError::OutOfReach, ConnectError::Failed))
    }
}

// === impl RegistrantReach ===

impl RegistrantReach {
    /// Creates the reach of an instance that this host registered; `None` if it is not known.
    pub fn new(registrant: Option<IpAddr>, allowed: Arc<[IpNetwork]>) -> Self {
        Self { registrant: registrant.map(|registrant| registrant.to_canonical()), allowed }
    }

    /// Returns those addresses of the authority that the instance's checks may connect to. A name that cannot be resolved has
    /// none.
    pub async fn addresses(&self, authority: &str) -> Vec<SocketAddr> {
        let Ok(addresses) = lookup_host(authority).await else { return Vec::new() };
        addresses.filter(|address| self.allows(address.ip())).collect()
    }

    /// The host that registered the instance.
    pub(crate) fn registrant(&self) -> Option<IpAddr> {
        self.registrant
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.is_registrant(address)
            || self.allowed.iter().any(|network| network.contains(address.to_canonical()))
    }

    fn is_registrant(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self.registrant {
            Some(registrant) if registrant.is_loopback() => is_own(address),
            // Loopback is this host for every registrant.
            Some(registrant) => registrant == address,
            None => false,
        }
    }
}

/// Whether this host has the address: only then can a socket be bound to it.
fn is_own(address: IpAddr) -> bool {
    let is_unicast = !address.is_multicast() && !address.is_unspecified();
    address.is_loopback() || (is_unicast && UdpSocket::bind((address, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn reach(registrant: Option<&str>, allowed: &[&str]) -> RegistrantReach {
        let allowed: Vec<_> = allowed.iter().map(|network| network.parse().unwrap()).collect();
        RegistrantReach::new(registrant.map(|address| address.parse().unwrap()), allowed.into())
    }

    #[test]
    fn only_the_registrant_and_allowed_networks_are_reached() {
        for (registrant, allowed, address, expected) in [
            (Some("127.0.0.1"), &[][..], "127.0.0.1", true),
            (Some("127.0.0.1"), &[], "127.9.9.9", true),
            (Some("127.0.0.1"), &[], "192.0.2.1", false),
            (Some("127.0.0.1"), &[], "0.0.0.0", false),
            (Some("127.0.0.1"), &[], "224.0.0.1", false),
            (Some("192.0.2.7"), &[], "192.0.2.7", true),
            (Some("192.0.2.7"), &[], "::ffff:192.0.2.7", true),
            (Some("192.0.2.7"), &[], "192.0.2.8", false),
            (Some("192.0.2.7"), &[], "127.0.0.1", false),
            (Some("192.0.2.7"), &[], "::1", false),
            (Some("192.0.2.7"), &[], "169.254.169.254", false),
            (Some("192.0.2.7"), &["192.0.2.0/24"], "192.0.2.8", true),
            (Some("192.0.2.7"), &["192.0.2.0/24"], "192.0.3.8", false),
            (None, &[], "127.0.0.1", false),
            (None, &["10.0.0.0/8"], "10.1.2.3", true),
        ] {
            let allows = reach(registrant, allowed).allows(address.parse().unwrap());
            assert_eq!(allows, expected, "{registrant:?} {allowed:?} {address}");
        }
    }

    #[tokio::test]
    async fn name_that_leads_to_another_host_is_not_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("localhost:{}", listener.local_addr().unwrap().port());
        let from_afar = CheckReach::Registrant(reach(Some("192.0.2.7"), &[]));
        let error = from_afar.connect(&authority).await.unwrap_err();
        assert!(matches!(error, ConnectError::OutOfReach), "{error}");
        let own = CheckReach::Registrant(reach(Some("127.0.0.1"), &[]));
        own.connect(&authority).await.unwrap();
    }
}
