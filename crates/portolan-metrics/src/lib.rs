//! The Prometheus metrics of Portolan, under the names of the specification.
//!
//! Components record into a [`Metrics`]; [`Metrics::encode`] returns the body of `/metrics`. The
//! number of label values is bounded: after [`MAX_SERVICE_NAMES`] distinct names, further names are
//! recorded as `_other`, so that a hostile client cannot exhaust memory. A name that was not used for five minutes
//! gives its label value up to another one, and its values with it, so that made-up names do not keep them.

mod exposition;
mod families;
mod hit_counter;
mod labels;
mod lookup_counter;
mod names;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use hit_counter::HitCounter;
pub use labels::{BroadcastErrorKind, DropReason, OperationResult};
pub use lookup_counter::LookupCounter;
pub use names::MAX_SERVICE_NAMES;

use families::{Families, Registrar};
use labels::{
    Action, ConfigChange, Dropped, Ended, Error, Lookup, Pool, Rejected, Reported, Request,
    Service, Strategy,
};
use names::{Claim, LabelChange, Name, NameLabels, Shared};

/// The content type of the text that [`Metrics::encode`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A handle to all metrics. Clones share the same values.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    families: Families,
    services: NameLabels,
    pools: NameLabels,
    /// The number of critical instances of each service that shares the label `_other`.
    unhealthy: Mutex<Shared>,
    registrar: Registrar,
    /// How many labels services have lost.
    lost_labels: AtomicU64,
}

// === impl Metrics ===

impl Metrics {
    /// Creates all metrics without samples.
    pub fn new() -> Self {
        let mut registrar = Registrar::default();
        let families = Families::registered(&mut registrar);
        Self(Arc::new(Inner {
            families,
            services: NameLabels::default(),
            pools: NameLabels::default(),
            unhealthy: Mutex::default(),
            registrar,
            lost_labels: AtomicU64::new(0),
        }))
    }

    /// Returns the body of `/metrics`, of type [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let Registrar { registry, descriptions } = &self.0.registrar;
        exposition::encode(registry, descriptions)
    }

    // --- port allocation

    /// Creates the counters of a pool with the value 0, so that `rate()` includes the first lease.
    pub fn preset_pool(&self, pool: &str) {
        let (families, pool) = (&self.0.families, self.pool(pool));
        for family in
            [&families.ports_allocated, &families.ports_released, &families.port_conflicts]
        {
            drop(family.get_or_create(&pool));
        }
    }

    /// Counts a port leased from the pool (label `service_type`).
    pub fn port_allocated(&self, pool: &str) {
        self.0.families.ports_allocated.get_or_create(&self.pool(pool)).inc();
    }

    /// Counts a port of the pool that was released.
    pub fn port_released(&self, pool: &str) {
        self.0.families.ports_released.get_or_create(&self.pool(pool)).inc();
    }

    /// Counts a preferred port that was already in use.
    pub fn port_conflict(&self, pool: &str) {
        self.0.families.port_conflicts.get_or_create(&self.pool(pool)).inc();
    }

    /// Counts a change of the settings that was applied, or refused.
    pub fn config_changed(&self, result: OperationResult) {
        self.0.families.config_changes.get_or_create(&ConfigChange { result }).inc();
    }

    // --- service registry

    /// Counts a registration of the service.
    pub fn service_registered(&self, service: &str) {
        self.with_service(service, Claim::Own, |families, service| {
            families.registered.get_or_create(&service).inc();
        });
    }

    /// Counts a registration of the service that was learned by broadcast. Anyone can announce a name, so it has a label value of
    /// its own only if a service of that name registers.
    pub fn service_announced(&self, service: &str) {
        self.with_service(service, Claim::Known, |families, service| {
            families.registered.get_or_create(&service).inc();
        });
    }

    /// Counts the end of one.
    pub fn announced_service_ended(&self, service: &str) {
        self.with_service(service, Claim::Known, |families, service| {
            families.deregistered.get_or_create(&service).inc();
        });
    }

    /// Counts a registration of the service that was removed or expired.
    pub fn service_deregistered(&self, service: &str) {
        self.with_service(service, Claim::Own, |families, service| {
            families.deregistered.get_or_create(&service).inc();
        });
    }

    /// Records a lookup of the service in the registry. A name that was not found may be made up, so
    /// such names get at most half of the label values.
    pub fn service_lookup(&self, service: &str, result: OperationResult, took: Duration) {
        self.with_service(service, Claim::of_lookup(result), |families, service| {
            let lookup = Lookup { service_name: service.service_name.clone(), result };
            families.lookups.get_or_create(&lookup).inc();
            families.lookup_duration.get_or_create(&service).observe(took.as_secs_f64());
        });
    }

    /// Sets how long ago the registry was last known to show everything in its store.
    pub fn registry_view_age(&self, age: Duration) {
        self.0.families.view_age.set(age.as_secs_f64());
    }

    /// Sets the number of instances that are kept because too many leases ended at once.
    pub fn registry_protected_instances(&self, count: usize) {
        self.0.families.protected.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets whether the registry rejects registrations because it cannot write its data directory.
    pub fn registry_read_only(&self, read_only: bool) {
        self.0.families.read_only.set(i64::from(read_only));
    }

    /// Counts a session of an agent from now on, or no longer.
    pub fn session_held(&self, is_held: bool) {
        self.0.families.sessions.inc_by(if is_held { 1 } else { -1 });
    }

    /// Counts a report that a caller could not connect to an instance, by what came of it: `refused`, `accepted`, `silent`,
    /// `not_asked`, `repeated` or `dropped`.
    pub fn failure_reported(&self, outcome: &'static str) {
        self.0.families.failure_reports.get_or_create(&Reported { outcome }).inc();
    }

    /// Counts a session that an agent ended, by what its instance answered: `gone`, `alive` or `silent`.
    pub fn session_ended(&self, instance: &'static str) {
        self.0.families.sessions_ended.get_or_create(&Ended { instance }).inc();
    }

    // --- HTTP server and audit log

    /// Counts a request or a connection that the HTTP server rejected.
    pub fn http_rejected(&self, reason: &'static str) {
        self.0.families.rejected.get_or_create(&Rejected { reason }).inc();
    }

    /// Counts audit records that were lost.
    pub fn audit_lost(&self, count: u64) {
        self.0.families.audit_lost.inc_by(count);
    }

    // --- discovery client

    /// Creates the counters of a discovery strategy with the value 0, so that `rate()` includes the
    /// first request.
    pub fn preset_strategy(&self, strategy: &'static str) {
        for result in [OperationResult::Success, OperationResult::Failure] {
            drop(self.0.families.requests.get_or_create(&Request { strategy, result }));
        }
    }

    /// Records a request to a discovery strategy.
    pub fn discovery_request(
        &self,
        strategy: &'static str,
        result: OperationResult,
        took: Duration,
    ) {
        let families = &self.0.families;
        families.requests.get_or_create(&Request { strategy, result }).inc();
        let duration = families.request_duration.get_or_create(&Strategy { strategy });
        duration.observe(took.as_secs_f64());
    }

    /// Counts a cache hit.
    pub fn cache_hit(&self, service: &str) {
        self.with_service(service, Claim::Own, |families, service| {
            families.cache_hits.get_or_create(&service).inc();
        });
    }

    /// Counts a cache miss.
    pub fn cache_miss(&self, service: &str) {
        self.with_service(service, Claim::Own, |families, service| {
            families.cache_misses.get_or_create(&service).inc();
        });
    }

    /// Counts an expired cache entry that was served because every strategy failed.
    pub fn cache_stale_served(&self, service: &str) {
        self.with_service(service, Claim::Own, |families, service| {
            families.cache_stale.get_or_create(&service).inc();
        });
    }

    // --- broadcast service

    /// Counts an announcement that was sent.
    pub fn announcement_sent(&self, action: &'static str) {
        self.0.families.sent.get_or_create(&Action { action }).inc();
    }

    /// Counts a valid announcement that was received.
    pub fn announcement_received(&self, action: &'static str) {
        self.0.families.received.get_or_create(&Action { action }).inc();
    }

    /// Counts a datagram that could not be sent, or was dropped on receipt.
    pub fn broadcast_error(&self, kind: BroadcastErrorKind) {
        self.0.families.broadcast_errors.get_or_create(&Error { r#type: kind }).inc();
    }

    /// Counts a received datagram that was dropped.
    pub fn datagram_dropped(&self, reason: DropReason) {
        self.0.families.dropped.get_or_create(&Dropped { reason }).inc();
    }

    // --- health

    /// Counts a health check of an instance of the service.
    pub fn health_check(&self, service: &str, result: OperationResult) {
        self.with_service(service, Claim::Own, |families, service| {
            let checked = Lookup { service_name: service.service_name, result };
            families.health_checks.get_or_create(&checked).inc();
        });
    }

    /// Records how long after its time a health check began.
    pub fn health_check_lateness(&self, late: Duration) {
        self.0.families.health_lateness.observe(late.as_secs_f64());
    }

    /// Records how long a health check took.
    pub fn health_check_duration(&self, took: Duration) {
        self.0.families.health_duration.observe(took.as_secs_f64());
    }

    /// Sets the number of critical instances of the service.
    pub fn unhealthy_services(&self, service: &str, count: usize) {
        // A service without critical instances needs no value, unless it had some.
        let claim = if count == 0 { Claim::Known } else { Claim::Own };
        self.with_service(service, claim, |_, label| {
            let mut unhealthy = self.0.unhealthy.lock();
            let is_shared = label.service_name.is_shared();
            let count = if is_shared { unhealthy.set(service, count) } else { count };
            self.set_unhealthy(label.service_name, count);
        });
    }

    fn set_unhealthy(&self, service_name: Name, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0.families.unhealthy.get_or_create(&Service { service_name }).set(count);
    }

    fn with_service(&self, name: &str, claim: Claim, record: impl FnOnce(&Families, Service)) {
        let families = &self.0.families;
        let change = |change: LabelChange| self.change_label(&change);
        let record = |service_name| record(families, Service { service_name });
        self.0.services.with(name, claim, change, record);
    }

    /// Moves the gauge of a service to or from the label that several share. Its counters begin again.
    fn change_label(&self, change: &LabelChange) {
        let families = &self.0.families;
        let mut shared = self.0.unhealthy.lock();
        let (name, count) = match change {
            LabelChange::Gained(name) => (name, shared.get(name.as_str())),
            LabelChange::Lost(name) => {
                let service = Service { service_name: name.clone() };
                let count = families.unhealthy.get(&service).map_or(0, |gauge| gauge.get());
                families.forget(name);
                self.0.lost_labels.fetch_add(1, Ordering::Release);
                (name, usize::try_from(count).unwrap_or_default())
            }
        };
        if count == 0 {
            return;
        }
        let sum = match change {
            LabelChange::Gained(_) => {
                self.set_unhealthy(name.clone(), count);
                shared.set(name.as_str(), 0)
            }
            LabelChange::Lost(_) => shared.set(name.as_str(), count),
        };
        self.set_unhealthy(Name::shared(), sum);
    }

    fn pool(&self, pool: &str) -> Pool {
        let service_type = self.0.pools.with(pool, Claim::Own, drop, |name| name);
        Pool { service_type }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
