//! The change feeds of a client: the registry's watch and the broadcast channel.

use std::sync::Arc;

use portolan_broadcast::Broadcaster;
use portolan_core::{Remedy as _, Scope, ServiceEndpoint, ServiceName};
use tracing::debug;

use crate::failure_reporter::FailureReporter;
use crate::lazy_broadcaster::LazyBroadcaster;
use crate::lifecycle::Lifecycle;
use crate::registry_client::{ConnectionEvents, ReconnectingWatch, RegistryClient, WatchRequest};

/// The feeds that the configured strategies use.
#[derive(Clone)]
pub(crate) struct Feeds {
    registry: Option<RegistryClient>,
    broadcaster: Option<Arc<LazyBroadcaster>>,
    scopes: Vec<Scope>,
}

// === impl Feeds ===

impl Feeds {
    pub(crate) fn new(
        registry: Option<RegistryClient>,
        broadcaster: Option<Arc<LazyBroadcaster>>,
        scopes: Vec<Scope>,
    ) -> Self {
        let broadcaster = broadcaster.filter(|broadcaster| !broadcaster.is_disabled());
        Self { registry, broadcaster, scopes }
    }

    /// Watches these services in the registry, or all services without a name; `None` if no
    /// strategy uses the registry.
    pub(crate) fn watch_registry(&self, names: Vec<ServiceName>) -> Option<ConnectionEvents> {
        let registry = self.registry.clone()?;
        let request = WatchRequest { names, scopes: self.scopes.clone(), from: None };
        Some(ReconnectingWatch::connection_events(registry, request))
    }

    /// Returns what tells the registry of failed connections; `None` if no strategy uses the registry.
    pub(crate) fn failure_reporter(&self, lifecycle: &Lifecycle) -> Option<Arc<FailureReporter>> {
        let registry = self.registry.clone()?;
        Some(FailureReporter::new(registry, lifecycle.clone()))
    }

    /// Returns the broadcaster; `None` if no strategy uses the channel or it cannot be opened.
    pub(crate) async fn broadcaster(&self) -> Option<Broadcaster> {
        match self.broadcaster.as_ref()?.get().await {
            Ok(broadcaster) => Some(broadcaster),
            Err(error) => {
                debug!(
                    error = error.with_remedy(),
                    "Broadcast channel not opened, its changes are not followed"
                );
                None
            }
        }
    }

    /// Returns the registry's URL, for a log line.
    pub(crate) fn registry_url(&self) -> Option<String> {
        self.registry.as_ref().map(RegistryClient::url)
    }

    /// Returns the scopes in which names are looked up, in order.
    pub(crate) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Returns the position of the endpoint's scope in the lookup order, or `None` if its scope is
    /// not looked in.
    pub(crate) fn rank(&self, endpoint: &ServiceEndpoint) -> Option<usize> {
        self.scopes.iter().position(|scope| *scope == endpoint.scope)
    }
}
