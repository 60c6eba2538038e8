//! Listeners: sources of connections, one file per kind.

mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod unix;

#[cfg(feature = "tls")]
pub use tls::TlsListener;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

/// A source of connections.
///
/// Accepting has two steps, so that a slow peer cannot block the accept loop: [`accept`] takes the
/// connection from the kernel, and the handshake runs in the connection's own task, within
/// [`HttpLimits::head`](crate::HttpLimits::head). Plain sockets have no handshake; TLS does, and
/// learns the client's certificate from it.
///
/// [`accept`]: Listener::accept
pub trait Listener: Send {
    /// The byte stream of one connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Makes an accepted connection ready for HTTP.
    type Handshake: Future<Output = io::Result<(Self::Io, Peer)>> + Send + 'static;

    /// Accepts the next connection; the peer is what is known of it before the handshake. Cancel safe: a dropped future
    /// loses no connection.
    ///
    /// # Errors
    ///
    /// Whatever accept(2) returns. Errors of kind `InvalidInput`, `NotConnected` and `Unsupported`
    /// are permanent and end the server.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Peer, Self::Handshake)>> + Send;
}

/// The other end of a connection, as the operating system reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer.
    Tcp {
        /// The peer's address.
        remote: SocketAddr,
        /// The address that the peer connected to, if known.
        local: Option<SocketAddr>,
    },
    /// A TCP peer that has proved with a certificate who it is.
    Certified {
        /// The peer's address.
        remote: SocketAddr,
        /// The address that the peer connected to, if known.
        local: Option<SocketAddr>,
        /// The names in the certificate: URIs, such as SPIFFE IDs, then DNS names.
        names: Arc<[String]>,
    },
    /// A process on this host, connected through a Unix socket (`SO_PEERCRED`, unix(7)).
    Unix {
        /// The user that the process runs as.
        uid: u32,
        /// The process id, if the system reports it.
        pid: Option<i32>,
    },
}

// === impl Peer ===

impl Peer {
    /// Returns the IP address of the peer's host: the loopback address if that is this host,
    /// whichever of its addresses the peer used.
    pub fn host(&self) -> IpAddr {
        match self.remote() {
            Some(remote) if !remote.is_loopback() && Some(remote) != self.local() => remote,
            _ => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Returns the peer with the names of its certificate, if it has shown one.
    #[cfg(feature = "tls")]
    fn with_certificate(self, names: Option<Vec<String>>) -> Self {
        match (self, names) {
            (Self::Tcp { remote, local }, Some(names)) => {
                Self::Certified { remote, local, names: names.into() }
            }
            (peer, _) => peer,
        }
    }

    /// Returns the user of a peer on this host that is connected through a Unix socket.
    pub fn user(&self) -> Option<u32> {
        match self {
            Self::Unix { uid, .. } => Some(*uid),
            Self::Tcp { .. } | Self::Certified { .. } => None,
        }
    }

    /// Returns the IP address of a TCP peer.
    pub fn remote(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { remote, .. } | Self::Certified { remote, .. } => {
                Some(remote.ip().to_canonical())
            }
            Self::Unix { .. } => None,
        }
    }

    /// Returns the IP address that a TCP peer connected to, if it is known.
    pub fn local(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { local, .. } | Self::Certified { local, .. } => {
                Some((*local)?.ip().to_canonical())
            }
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { remote, .. } => remote.fmt(f),
            Self::Certified { remote, names, .. } => {
                write!(f, "{remote} ({})", names.first().map_or("no name", String::as_str))
            }
            Self::Unix { uid, pid: Some(pid) } => write!(f, "unix:uid={uid},pid={pid}"),
            Self::Unix { uid, pid: None } => write!(f, "unix:uid={uid}"),
        }
    }
}
