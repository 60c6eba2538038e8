//! What strategies are made of.

use std::sync::Arc;

use portolan_broadcast::Broadcaster;
use portolan_core::{Scope, ServiceEndpoint};
use tracing::debug;

use crate::DiscoveryConfig;
use crate::lazy_broadcaster::LazyBroadcaster;
use crate::registry_client::RegistryClient;
use crate::reservations::Reservations;
use crate::strategies::broadcast;
use crate::strategy::Kind;

/// Everything that a strategy may be made of; each takes what it needs.
#[derive(Clone)]
pub(crate) struct Deps {
    pub(crate) config: Arc<DiscoveryConfig>,
    /// The client's own scope first.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) registry: RegistryClient,
    pub(crate) broadcaster: Arc<LazyBroadcaster>,
    pub(crate) reservations: Arc<dyn Reservations>,
}

// === impl Deps ===

impl Deps {
    /// The scopes in which names are looked up: the own one, then `default`.
    pub(crate) fn scopes_of(scope: Scope) -> Vec<Scope> {
        match scope.is_default() {
            true => vec![scope],
            false => vec![scope, Scope::default()],
        }
    }

    /// Whether the configuration names the strategy.
    pub(crate) fn asks(&self, strategy: &Kind) -> bool {
        self.config.strategies.iter().any(|asked| asked.as_str() == strategy.name)
    }

    /// The broadcast channel, where it is asked at all and can be opened.
    pub(crate) async fn listening_broadcaster(&self) -> Option<Broadcaster> {
        if self.broadcaster.is_disabled() || !self.asks(&broadcast::KIND) {
            return None;
        }
        match self.broadcaster.broadcaster().await {
            Ok(broadcaster) => Some(broadcaster),
            Err(error) => {
                debug!(%error, "the broadcast channel cannot be heard");
                None
            }
        }
    }

    /// How near the endpoint's scope is: 0 is the own one. None where it is not looked in at all.
    pub(crate) fn rank(&self, endpoint: &ServiceEndpoint) -> Option<usize> {
        self.scopes.iter().position(|scope| *scope == endpoint.scope)
    }
}
