//! How many endpoints a store holds.

use std::net::IpAddr;

use portolan_core::Source;

use super::{Effect, Put};
use crate::{RegistryConfig, RegistryError};

/// The largest number of endpoints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointLimits {
    total: usize,
    broadcast: usize,
    client: usize,
}

impl EndpointLimits {
    /// Half of the endpoints at most may be learned by broadcast, rounded up.
    pub(crate) fn from_config(config: &RegistryConfig) -> Self {
        Self {
            total: config.max_endpoints,
            broadcast: config.max_endpoints.div_ceil(2),
            client: config.clients.endpoints,
        }
    }

    /// Checks whether one more endpoint of the source may be stored.
    pub(crate) fn check(
        self,
        source: Source,
        total: usize,
        broadcast: usize,
    ) -> Result<(), RegistryError> {
        if total >= self.total {
            Err(RegistryError::Full { limit: self.total })
        } else if source == Source::Broadcast && broadcast >= self.broadcast {
            Err(RegistryError::BroadcastFull { limit: self.broadcast })
        } else {
            Ok(())
        }
    }

    /// Checks whether the host that registers an endpoint may have one more. All programs on this host share one address, so it
    /// is not limited.
    pub(crate) fn check_client(
        self,
        put: &Put,
        peer: Option<IpAddr>,
        count: impl FnOnce(IpAddr) -> usize,
    ) -> Result<(), RegistryError> {
        let peer = peer.filter(|peer| put.effect == Effect::Registered && !peer.is_loopback());
        match peer {
            Some(peer) if count(peer) >= self.client + put.displaced.len() => {
                Err(RegistryError::ClientFull { peer, limit: self.client })
            }
            _ => Ok(()),
        }
    }

    /// Checks whether the endpoint may be stored beside so many, and so many that were learned by broadcast.
    pub(crate) fn check_put(
        self,
        put: &Put,
        source: Source,
        (total, broadcast): (usize, usize),
    ) -> Result<(), RegistryError> {
        match put.effect {
            Effect::Registered => {
                self.check(source, total.saturating_sub(put.displaced.len()), broadcast)
            }
            Effect::Moved | Effect::Updated | Effect::Health | Effect::Renewed => Ok(()),
        }
    }
}
