//! The metric families, their names and their help.

use std::hash::Hash;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::exposition::{Description, Kind};
use crate::labels::{Action, BroadcastErrorKind, Error, Lookup, Pool, Request, Service, Strategy};

/// From a tenth of a millisecond, a cached answer, to the overall timeout of a discovery.
const SECONDS: [f64; 12] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

pub(crate) struct Families {
    pub(crate) ports_allocated: Family<Pool, Counter>,
    pub(crate) ports_released: Family<Pool, Counter>,
    pub(crate) port_conflicts: Family<Pool, Counter>,
    pub(crate) registered: Family<Service, Counter>,
    pub(crate) deregistered: Family<Service, Counter>,
    pub(crate) lookups: Family<Lookup, Counter>,
    pub(crate) lookup_duration: Histograms<Service>,
    pub(crate) requests: Family<Request, Counter>,
    pub(crate) request_duration: Histograms<Strategy>,
    pub(crate) cache_hits: Family<Service, Counter>,
    pub(crate) cache_misses: Family<Service, Counter>,
    pub(crate) cache_stale: Family<Service, Counter>,
    pub(crate) sent: Family<Action, Counter>,
    pub(crate) received: Family<Action, Counter>,
    pub(crate) broadcast_errors: Family<Error, Counter>,
    pub(crate) health_checks: Family<Lookup, Counter>,
    pub(crate) unhealthy: Family<Service, Gauge>,
}

// === impl Families ===

impl Families {
    /// Every family, registered and described under its name without the `_total` of counters.
    pub(crate) fn registered(to: &mut Registrar) -> Self {
        Self {
            ports_allocated: to.counter("discovery_ports_allocated", "Ports granted"),
            ports_released: to.counter("discovery_ports_released", "Ports given back"),
            port_conflicts: to.counter("discovery_port_conflicts", "First choices that were taken"),
            registered: to.counter("discovery_services_registered", "Registrations"),
            deregistered: to.counter(
                "discovery_services_deregistered",
                "Endpoints gone, by themselves or by the end of their lease",
            ),
            lookups: to.counter("discovery_service_lookups", "Lookups in the registry"),
            lookup_duration: to.histogram(
                "discovery_service_lookup_duration_seconds",
                "How long lookups in the registry took",
            ),
            requests: to.counter("discovery_requests", "Discoveries by strategy"),
            request_duration: to
                .histogram("discovery_request_duration_seconds", "How long strategies took"),
            cache_hits: to.counter("discovery_cache_hits", "Discoveries answered from the cache"),
            cache_misses: to.counter("discovery_cache_misses", "Discoveries not in the cache"),
            cache_stale: to.counter(
                "discovery_cache_stale_served",
                "Stale endpoints served because every strategy failed",
            ),
            sent: preset(
                to.counter("discovery_announcements_sent", "Announcements sent"),
                actions(),
            ),
            received: preset(
                to.counter("discovery_announcements_received", "Announcements believed"),
                actions(),
            ),
            broadcast_errors: preset(
                to.counter("discovery_broadcast_errors", "Datagrams not sent, or dropped"),
                [BroadcastErrorKind::Send, BroadcastErrorKind::Receive]
                    .map(|r#type| Error { r#type }),
            ),
            health_checks: to.counter("discovery_health_checks", "Health checks made"),
            unhealthy: to.gauge("discovery_unhealthy_services", "Critical instances"),
        }
    }
}

/// Registers families and remembers how they are described.
#[derive(Debug, Default)]
pub(crate) struct Registrar {
    pub(crate) registry: Registry,
    pub(crate) descriptions: Vec<Description>,
}

// === impl Registrar ===

impl Registrar {
    fn counter<L>(&mut self, name: &'static str, help: &'static str) -> Family<L, Counter>
    where
        Family<L, Counter>: Metric + Clone,
        L: Clone + Hash + Eq,
    {
        self.add(name, help, Kind::Counter, Family::default())
    }

    fn gauge<L>(&mut self, name: &'static str, help: &'static str) -> Family<L, Gauge>
    where
        Family<L, Gauge>: Metric + Clone,
        L: Clone + Hash + Eq,
    {
        self.add(name, help, Kind::Gauge, Family::default())
    }

    fn histogram<L>(&mut self, name: &'static str, help: &'static str) -> Histograms<L>
    where
        Histograms<L>: Metric + Clone,
        L: Clone + Hash + Eq,
    {
        let family = Histograms::new_with_constructor(|| Histogram::new(SECONDS));
        self.add(name, help, Kind::Histogram, family)
    }

    fn add<M: Metric + Clone>(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        metric: M,
    ) -> M {
        self.registry.register(name, help, metric.clone());
        self.descriptions.push(Description { name, help, kind });
        metric
    }
}

/// Starts the label sets that are known beforehand at 0, so that a rate sees the first one.
fn preset<L>(family: Family<L, Counter>, labels: impl IntoIterator<Item = L>) -> Family<L, Counter>
where
    L: Clone + Hash + Eq,
{
    for label in labels {
        drop(family.get_or_create(&label));
    }
    family
}

fn actions() -> [Action; 4] {
    ["register", "deregister", "update", "heartbeat"].map(|action| Action { action })
}
