//! The socket of a process: it sends, and receives responses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::debug;

use super::{Selected, UdpTransport, raw_socket};
use crate::transport::{BoxFuture, BroadcastSocket, Destination, Receiver};

/// Sends, and receives responses. The interface of a multicast is a property of the socket, so that setting
/// it and sending need one lock. It is set when it changes.
#[derive(Debug)]
pub(super) struct OwnSocket {
    socket: UdpSocket,
    transport: UdpTransport,
    /// The interface of the last multicast, if it was sent.
    interface: Mutex<Option<Selected>>,
}

// === impl OwnSocket ===

impl OwnSocket {
    pub(super) fn open(transport: UdpTransport) -> io::Result<Self> {
        let (group, hop_limit) = (transport.0.group, u32::from(transport.0.hop_limit));
        let socket = raw_socket(group)?;
        match group {
            SocketAddr::V4(_) => {
                socket.set_multicast_ttl_v4(hop_limit)?;
                socket.set_multicast_loop_v4(true)?;
            }
            SocketAddr::V6(_) => {
                socket.set_multicast_hops_v6(hop_limit)?;
                socket.set_multicast_loop_v6(true)?;
            }
        }
        socket.bind(&transport.own_address().into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, transport, interface: Mutex::new(None) })
    }

    async fn multicast_on(&self, payload: &[u8], interface: &Selected) -> io::Result<()> {
        let send = || {
            let mut last = self.interface.lock();
            let is_selected = last.as_ref() == Some(interface);
            // After an error it is selected again: an interface may have come back under its old number.
            let former = last.take().filter(|_| is_selected);
            let group = self.group_on(interface);
            if !is_selected {
                self.select(interface)?;
            }
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                SockRef::from(&self.socket).send_to(payload, &group.into())
            })?;
            *last = former.or_else(|| Some(interface.clone()));
            Ok::<_, io::Error>(sent)
        };
        loop {
            self.socket.writable().await?;
            match send() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent.map(drop),
            }
        }
    }

    /// Makes this the interface of the next multicast.
    fn select(&self, interface: &Selected) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        match self.transport.0.group {
            SocketAddr::V4(_) => {
                let address = interface.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED);
                socket.set_multicast_if_v4(&address)
            }
            SocketAddr::V6(_) => socket.set_multicast_if_v6(interface.index),
        }
    }

    /// Returns the address of the group on the interface.
    fn group_on(&self, interface: &Selected) -> SocketAddr {
        match self.transport.0.group {
            SocketAddr::V4(group) => group.into(),
            SocketAddr::V6(group) => {
                SocketAddrV6::new(*group.ip(), group.port(), 0, interface.index).into()
            }
        }
    }

    /// Sends to every peer. It is an error only if all of them fail.
    async fn send_to_peers(&self, payload: &[u8]) -> io::Result<()> {
        let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
        for peer in &self.transport.0.peers {
            match self.socket.send_to(payload, peer).await {
                Ok(_) => outcome = Ok(()),
                Err(error) => {
                    debug!(%peer, %error, "cannot send to a peer");
                    outcome = outcome.map_err(|_| error);
                }
            }
        }
        outcome
    }
}

impl Receiver for OwnSocket {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.socket.recv_from(buffer))
    }
}

impl BroadcastSocket for OwnSocket {
    fn multicast<'a>(
        &'a self,
        payload: &'a [u8],
        reach: Destination,
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            match reach {
                Destination::Peers => self.send_to_peers(payload).await,
                _ => {
                    let interface = self.transport.find(reach);
                    let interface = interface.ok_or(io::ErrorKind::NetworkUnreachable)?;
                    self.multicast_on(payload, &interface).await
                }
            }
        })
    }

    fn send_to<'a>(&'a self, payload: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.socket.send_to(payload, to).await.map(drop) })
    }
}
