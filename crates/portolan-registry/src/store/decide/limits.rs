//! How many endpoints a store holds.

use portolan_core::{Source, Ttl};

use super::{Effect, Put};
use crate::store::owner::Registrant;
use crate::{CommandOrigin, InvalidRegistryConfig, RegistryConfig, RegistryError};

/// The largest number of endpoints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointLimits {
    total: usize,
    broadcast: usize,
    client: usize,
}

/// What a store applies to commands, of the settings that change while it is open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandRules {
    pub(crate) limits: EndpointLimits,
    pub(crate) ttl_default: Ttl,
}

// === impl CommandRules ===

impl CommandRules {
    pub(crate) fn from_config(config: &RegistryConfig) -> Result<Self, InvalidRegistryConfig> {
        Ok(Self { limits: EndpointLimits::from_config(config), ttl_default: config.ttl()? })
    }
}

// === impl EndpointLimits ===

impl EndpointLimits {
    /// Half of the endpoints at most may be learned by broadcast, rounded up.
    fn from_config(config: &RegistryConfig) -> Self {
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

    /// Checks whether the host and the identity that register an endpoint may have one more. All programs on this host share one
    /// address, so the host is not limited.
    pub(crate) fn check_registrant(
        self,
        put: &Put,
        origin: &CommandOrigin,
        count: impl Fn(&Registrant) -> usize,
    ) -> Result<(), RegistryError> {
        if put.effect != Effect::Registered {
            return Ok(());
        }
        let is_full = |registrant, limit: usize| count(&registrant) >= limit + put.displaced.len();
        if let Some(peer) = origin.peer().filter(|peer| !peer.is_loopback())
            && is_full(Registrant::Host(peer), self.client)
        {
            return Err(RegistryError::ClientFull { peer, limit: self.client });
        }
        if let Some(grants) = origin.grants()
            && let Some(limit) = grants.limits().endpoints
            && let identity = grants.identity().to_owned()
            && is_full(Registrant::Identity(identity.clone()), limit)
        {
            return Err(RegistryError::IdentityFull { identity, limit });
        }
        Ok(())
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
