//! The metric families, their names and their help.

use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::exposition::{Description, Kind};
use crate::labels::{
    Action, BroadcastErrorKind, ConfigChange, DropReason, Dropped, Ended, Error, Lookup,
    OperationResult, Pool, Rejected, Reported, Request, Service, Strategy,
};
use crate::names::Name;

/// Histogram buckets in seconds, from a cached result to the overall timeout of a discovery.
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
    pub(crate) dropped: Family<Dropped, Counter>,
    pub(crate) health_checks: Family<Lookup, Counter>,
    pub(crate) unhealthy: Family<Service, Gauge>,
    pub(crate) view_age: Gauge<f64, AtomicU64>,
    pub(crate) protected: Gauge,
    pub(crate) read_only: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) sessions_ended: Family<Ended, Counter>,
    pub(crate) failure_reports: Family<Reported, Counter>,
    pub(crate) rejected: Family<Rejected, Counter>,
    pub(crate) audit_lost: Counter,
    pub(crate) config_changes: Family<ConfigChange, Counter>,
    pub(crate) health_lateness: Histogram,
    pub(crate) health_duration: Histogram,
}

// === impl Families ===

impl Families {
    /// Removes the values of a service whose name has its own label value no longer.
    pub(crate) fn forget(&self, service_name: &Name) {
        let service = Service { service_name: service_name.clone() };
        for counters in [
            &self.registered,
            &self.deregistered,
            &self.cache_hits,
            &self.cache_misses,
            &self.cache_stale,
        ] {
            counters.remove(&service);
        }
        self.lookup_duration.remove(&service);
        self.unhealthy.remove(&service);
        for result in [OperationResult::Success, OperationResult::Failure] {
            let lookup = Lookup { service_name: service_name.clone(), result };
            self.lookups.remove(&lookup);
            self.health_checks.remove(&lookup);
        }
    }

    /// Creates and registers every family. Names are without the suffix `_total` of counters.
    pub(crate) fn registered(to: &mut Registrar) -> Self {
        Self {
            ports_allocated: to.counter("discovery_ports_allocated", "Number of ports leased"),
            ports_released: to.counter("discovery_ports_released", "Number of ports released"),
            port_conflicts: to
                .counter("discovery_port_conflicts", "Number of preferred ports already in use"),
            registered: to.counter("discovery_services_registered", "Number of registrations"),
            deregistered: to.counter(
                "discovery_services_deregistered",
                "Number of registrations that were removed or expired",
            ),
            lookups: to.counter("discovery_service_lookups", "Number of lookups in the registry"),
            lookup_duration: to.histogram(
                "discovery_service_lookup_duration_seconds",
                "Duration of lookups in the registry in seconds",
            ),
            requests: to.counter("discovery_requests", "Number of discovery requests by strategy"),
            request_duration: to.histogram(
                "discovery_request_duration_seconds",
                "Duration of discovery requests by strategy in seconds",
            ),
            cache_hits: to.counter("discovery_cache_hits", "Number of cache hits"),
            cache_misses: to.counter("discovery_cache_misses", "Number of cache misses"),
            cache_stale: to.counter(
                "discovery_cache_stale_served",
                "Number of expired cache entries served because every strategy failed",
            ),
            sent: preset(
                to.counter("discovery_announcements_sent", "Number of announcements sent"),
                actions(),
            ),
            received: preset(
                to.counter(
                    "discovery_announcements_received",
                    "Number of valid announcements received",
                ),
                actions(),
            ),
            broadcast_errors: preset(
                to.counter(
                    "discovery_broadcast_errors",
                    "Number of datagrams not sent or dropped on receipt",
                ),
                [BroadcastErrorKind::Send, BroadcastErrorKind::Receive]
                    .map(|r#type| Error { r#type }),
            ),
            dropped: preset(
                to.counter(
                    "discovery_broadcast_dropped",
                    "Number of datagrams dropped on receipt by reason",
                ),
                DropReason::ALL.map(|reason| Dropped { reason }),
            ),
            health_checks: to.counter("discovery_health_checks", "Number of health checks"),
            unhealthy: to.gauge("discovery_unhealthy_services", "Number of critical instances"),
            view_age: to.add(
                "discovery_registry_view_age_seconds",
                "Time since the registry was last known to show everything in its store in seconds",
                Kind::Gauge,
                Gauge::default(),
            ),
            protected: to.add(
                "discovery_registry_protected_instances",
                "Number of instances that are kept because too many leases ended at once",
                Kind::Gauge,
                Gauge::default(),
            ),
            read_only: to.add(
                "discovery_registry_read_only",
                "Whether the registry rejects registrations because it cannot write its data directory",
                Kind::Gauge,
                Gauge::default(),
            ),
            sessions: to.add(
                "discovery_registry_sessions",
                "Number of sessions of agents whose instance has accepted a connection of this server",
                Kind::Gauge,
                Gauge::default(),
            ),
            sessions_ended: to.counter(
                "discovery_registry_sessions_ended",
                "Number of sessions that agents ended, by what their instances answered",
            ),
            failure_reports: to.counter(
                "discovery_registry_failure_reports",
                "Number of reports that a caller could not connect to an instance, by outcome",
            ),
            rejected: to.counter(
                "discovery_http_rejected",
                "Number of requests and connections that the HTTP server rejected",
            ),
            audit_lost: to.add(
                "discovery_audit_lost",
                "Number of audit records lost because the audit log could not keep up",
                Kind::Counter,
                Counter::default(),
            ),
            config_changes: preset(
                to.counter("discovery_config_changes", "Number of changes of the settings by result"),
                [OperationResult::Success, OperationResult::Failure]
                    .map(|result| ConfigChange { result }),
            ),
            health_lateness: to.add(
                "discovery_health_check_lateness_seconds",
                "Time from when a health check was due to its start in seconds",
                Kind::Histogram,
                Histogram::new(SECONDS),
            ),
            health_duration: to.add(
                "discovery_health_check_duration_seconds",
                "Time that a health check took in seconds",
                Kind::Histogram,
                Histogram::new(SECONDS),
            ),
        }
    }
}

/// Registers families and records their descriptions.
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

/// Creates label sets that are known beforehand with the value 0, so that `rate()` includes the
/// first increment.
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
