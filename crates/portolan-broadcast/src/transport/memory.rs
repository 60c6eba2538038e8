//! A simulated network for tests: hosts that receive each other's datagrams unless they are partitioned,
//! with a configurable loss.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::{BoxFuture, BroadcastSocket, Destination, Receiver, Transport};

/// The number of datagrams buffered by a socket; further ones are lost.
const INBOX: usize = 4096;
/// The port of the channel on every host.
const CHANNEL_PORT: u16 = 7001;

/// The index of the only interface of every machine besides loopback.
pub const INTERFACE: u32 = 2;

/// A network. Clones share it.
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Mutex<State>>);

/// The transport of one host.
#[derive(Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    host: IpAddr,
}

struct State {
    sockets: Vec<Weak<Port>>,
    partitions: HashSet<(IpAddr, IpAddr)>,
    loss: f64,
    chance: StdRng,
    next_port: u16,
}

struct Port {
    host: IpAddr,
    port: u16,
    inbox: mpsc::Sender<Datagram>,
}

type Datagram = (Vec<u8>, SocketAddr);

struct MemorySocket {
    network: MemoryNetwork,
    port: Arc<Port>,
    inbox: AsyncMutex<mpsc::Receiver<Datagram>>,
}

// === impl MemoryNetwork ===

impl MemoryNetwork {
    /// Returns a network without hosts and without loss. Equal seeds lose the same datagrams.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            sockets: Vec::new(),
            partitions: HashSet::new(),
            loss: 0.0,
            chance: StdRng::seed_from_u64(seed),
            next_port: 40_000,
        })))
    }

    /// Adds the host with this address.
    pub fn host(&self, address: Ipv4Addr) -> Arc<MemoryTransport> {
        Arc::new(MemoryTransport { network: self.clone(), host: address.into() })
    }

    /// Sets the share of datagrams between hosts that are lost, from 0 to 1. Loopback loses none.
    pub fn set_loss(&self, share: f64) {
        self.0.lock().loss = share.clamp(0.0, 1.0);
    }

    /// Drops every datagram between two hosts.
    pub fn partition(&self, one: Ipv4Addr, other: Ipv4Addr) {
        let (one, other) = (IpAddr::from(one), IpAddr::from(other));
        self.0.lock().partitions.extend([(one, other), (other, one)]);
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.0.lock().partitions.clear();
    }

    fn open(&self, host: IpAddr, port: Option<u16>) -> MemorySocket {
        let (sender, receiver) = mpsc::channel(INBOX);
        let mut state = self.0.lock();
        state.sockets.retain(|socket| socket.strong_count() > 0);
        let port = port.unwrap_or_else(|| {
            state.next_port += 1;
            state.next_port
        });
        let port = Arc::new(Port { host, port, inbox: sender });
        state.sockets.push(Arc::downgrade(&port));
        MemorySocket { network: self.clone(), port, inbox: AsyncMutex::new(receiver) }
    }

    fn deliver(&self, from: &Port, payload: &[u8], is_meant: impl Fn(&Port) -> bool, local: bool) {
        let source = if local { IpAddr::from(Ipv4Addr::LOCALHOST) } else { from.host };
        let mut state = self.0.lock();
        let targets: Vec<_> = state.sockets.iter().filter_map(Weak::upgrade).collect();
        for target in targets.iter().filter(|target| is_meant(target)) {
            if state.passes(from.host, target.host) {
                let datagram = (payload.to_vec(), SocketAddr::new(source, from.port));
                // A full inbox loses the datagram.
                let _ = target.inbox.try_send(datagram);
            }
        }
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork").finish_non_exhaustive()
    }
}

impl State {
    fn passes(&mut self, from: IpAddr, to: IpAddr) -> bool {
        let loss = self.loss;
        from == to || !(self.partitions.contains(&(from, to)) || self.chance.random_bool(loss))
    }
}

// === impl MemoryTransport ===

impl Transport for MemoryTransport {
    fn destinations(&self) -> Vec<Destination> {
        vec![Destination::Loopback, Destination::Interface(INTERFACE)]
    }

    fn addresses(&self, destination: Destination) -> Vec<IpAddr> {
        match destination {
            Destination::Loopback => vec![Ipv4Addr::LOCALHOST.into()],
            _ => vec![self.host],
        }
    }

    fn open_channel(&self) -> io::Result<Box<dyn Receiver>> {
        Ok(Box::new(self.network.open(self.host, Some(CHANNEL_PORT))))
    }

    fn open_socket(&self) -> io::Result<Box<dyn BroadcastSocket>> {
        Ok(Box::new(self.network.open(self.host, None)))
    }

    fn is_local_address(&self, address: IpAddr) -> bool {
        address == self.host
    }

    /// Every host is on one network of 24 bits.
    fn is_attached(&self, address: IpAddr) -> bool {
        match (self.host, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => own.octets()[..3] == other.octets()[..3],
            _ => false,
        }
    }
}

// === impl MemorySocket ===

impl fmt::Debug for MemorySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemorySocket({}:{})", self.port.host, self.port.port)
    }
}

impl Receiver for MemorySocket {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(async move {
            let received = self.inbox.lock().await.recv().await;
            let (payload, source) = received.ok_or(io::ErrorKind::BrokenPipe)?;
            let size = payload.len().min(buffer.len());
            buffer[..size].copy_from_slice(&payload[..size]);
            Ok((size, source))
        })
    }
}

impl BroadcastSocket for MemorySocket {
    fn multicast<'a>(
        &'a self,
        payload: &'a [u8],
        reach: Destination,
    ) -> BoxFuture<'a, io::Result<()>> {
        let local = reach == Destination::Loopback;
        let on_channel =
            |port: &Port| port.port == CHANNEL_PORT && (!local || port.host == self.port.host);
        self.network.deliver(&self.port, payload, on_channel, local);
        Box::pin(async { Ok(()) })
    }

    fn send_to<'a>(&'a self, payload: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        let local = to.ip().is_loopback();
        let host = if local { self.port.host } else { to.ip() };
        let is_meant = |port: &Port| port.host == host && port.port == to.port();
        self.network.deliver(&self.port, payload, is_meant, local);
        Box::pin(async { Ok(()) })
    }
}
