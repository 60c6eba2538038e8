//! What the built-in strategies are built from.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::{Pools, Scope, ServiceName};

use crate::dns_config::DnsConfig;
use crate::lazy_broadcaster::LazyBroadcaster;
use crate::registry_client::RegistryClient;
use crate::reservations::Reservations;
use crate::static_endpoints::ConfiguredEndpoints;
use crate::strategy::{Strategy, StrategyKind};

/// A row of the strategy table.
pub(crate) struct Builtin {
    pub(crate) kind: StrategyKind,
    /// Builds the strategy; the duration is its timeout in the settings.
    pub(crate) build: fn(&Deps, Duration) -> Arc<dyn Strategy>,
}

/// Everything that a built-in strategy may be built from; each takes what it needs.
#[derive(Clone)]
pub(crate) struct Deps {
    /// The scopes in which names are looked up, in order.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) registry: RegistryClient,
    /// Whether a setting or a lease on this host says that there is a registry.
    pub(crate) registry_is_known: bool,
    pub(crate) broadcaster: Arc<LazyBroadcaster>,
    /// `None` if the port reservations of this host are not available.
    pub(crate) reservations: Option<Arc<dyn Reservations>>,
    pub(crate) dns: DnsConfig,
    pub(crate) endpoints: BTreeMap<ServiceName, ConfiguredEndpoints>,
    pub(crate) default_ports: BTreeMap<ServiceName, NonZeroU16>,
    pub(crate) pools: Pools,
}
