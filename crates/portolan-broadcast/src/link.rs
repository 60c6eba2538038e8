//! A link: one group with its sockets and keys. A broadcaster has one for each channel.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tracing::{debug, warn};

use crate::config::Channel;
use crate::keys::FollowedKeys;
use crate::signature::Signing;
use crate::transport::{BroadcastSocket, Destination, Receiver, Transport};
use crate::validate::Validator;
use crate::{BroadcastConfig, BroadcastError};

/// A group with its sockets and keys.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) socket: Box<dyn BroadcastSocket>,
    pub(crate) keys: Arc<FollowedKeys>,
    /// Group and port, which signed messages name as their channel, so that a copy of one is not accepted on another channel
    /// with the same key. `None` without a key.
    audience: Option<Arc<str>>,
    /// Shared by the links with the same keys, so that a message that arrives on two of them counts once. A
    /// sender without those keys cannot use up the sequence numbers of one that has them.
    pub(crate) validator: Arc<Mutex<Validator>>,
    /// Whether it is the IPv6 group that accompanies another link.
    pub(crate) is_companion: bool,
}

/// A destination of a multicast on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) link: usize,
    pub(crate) destination: Destination,
}

/// The socket that received a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) link: usize,
    pub(crate) ingress: Ingress,
}

/// The kind of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ingress {
    /// The socket of the multicast channel.
    Channel,
    /// The process's own socket, for responses to its queries.
    Own,
}

/// The links of a broadcaster while they are opened.
#[derive(Debug)]
pub(crate) struct Links<'a> {
    pub(crate) config: &'a BroadcastConfig,
    pub(crate) links: Vec<Link>,
    /// The receivers, with the index of their link.
    pub(crate) channels: Vec<(usize, Box<dyn Receiver>)>,
    domains: Vec<Domain>,
}

/// The channels with the same keys.
#[derive(Debug, Clone)]
struct Domain {
    /// The place of the keys in the settings.
    keys_of: Option<usize>,
    keys: Arc<FollowedKeys>,
    validator: Arc<Mutex<Validator>>,
}

// === impl Link ===

impl Link {
    /// Opens the sending socket.
    fn open(
        transport: Arc<dyn Transport>,
        keys: Arc<FollowedKeys>,
        audience: Option<Arc<str>>,
        validator: Arc<Mutex<Validator>>,
    ) -> io::Result<Self> {
        let socket = transport.open_socket()?;
        Ok(Self { transport, socket, keys, audience, validator, is_companion: false })
    }

    /// How messages are signed at this moment.
    pub(crate) fn signing(&self) -> Signing {
        Signing::new(self.keys.current(), self.audience.clone())
    }

    /// What signed messages name as their channel.
    pub(crate) fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Returns the networks that a message is sent to.
    pub(crate) fn networks(&self) -> impl Iterator<Item = Destination> {
        self.transport.destinations().into_iter().filter(|it| *it != Destination::Loopback)
    }
}

// === impl Links ===

impl<'a> Links<'a> {
    pub(crate) fn new(config: &'a BroadcastConfig) -> Self {
        Self { config, links: Vec::new(), channels: Vec::new(), domains: Vec::new() }
    }

    /// Opens the sockets of a channel. Without its receiver it can still announce and query.
    pub(crate) fn add(
        &mut self,
        transport: Arc<dyn Transport>,
        channel: &Channel,
    ) -> Result<(), BroadcastError> {
        let receiver = transport.open_channel();
        let Domain { keys, validator, .. } = self.domain(channel)?;
        let audience = (!keys.is_empty()).then(|| channel.address.to_string().into());
        let link = Link::open(transport, keys, audience, validator);
        let link = link.map_err(|source| BroadcastError::Open {
            interface: channel.interfaces.join(", "),
            source,
        })?;
        match receiver {
            Ok(receiver) => self.channels.push((self.links.len(), receiver)),
            Err(error) if channel.is_companion => debug!(%error, "IPv6 group not heard"),
            Err(error) => {
                let address = channel.address;
                warn!(%address, %error, "cannot hear the broadcast channel, announcing and asking only");
            }
        }
        self.links.push(Link { is_companion: channel.is_companion, ..link });
        Ok(())
    }

    fn domain(&mut self, channel: &Channel) -> Result<Domain, BroadcastError> {
        let keys_of = channel.keys_of;
        if let Some(known) = self.domains.iter().find(|known| known.keys_of == keys_of) {
            return Ok(known.clone());
        }
        let keys = Arc::new(FollowedKeys::read(self.config, keys_of)?);
        let validator = Validator::new(self.config, Arc::clone(&keys)).started(Timestamp::now());
        let validator = Arc::new(Mutex::new(validator));
        let domain = Domain { keys_of, keys, validator };
        self.domains.push(domain.clone());
        Ok(domain)
    }
}
