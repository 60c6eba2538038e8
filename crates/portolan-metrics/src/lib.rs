//! Every Prometheus metric of Portolan, in one place, under the names of the specification.
//!
//! A part is handed a [`Metrics`] and counts with it; [`Metrics::encode`] writes what `/metrics`
//! serves. Clones share their numbers. Names that come from outside become labels only while there
//! are few of them: after [`MAX_SERVICE_NAMES`] different ones, further names count as `_other`,
//! so that a hostile client cannot make the exposition grow without bound.

mod exposition;
mod families;
mod labels;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use labels::{BroadcastErrorKind, MAX_SERVICE_NAMES, OperationResult};

use families::{Families, Registrar};
use labels::{Action, Error, Lookup, NameLabels, Pool, Request, Service, Shared, Strategy};

/// The content type of what [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A handle on all metrics; clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    families: Families,
    services: NameLabels,
    pools: NameLabels,
    /// How many instances are critical of the services that share a label.
    unhealthy: Mutex<Shared>,
    registrar: Registrar,
}

// === impl Metrics ===

impl Metrics {
    /// All metrics, each at nothing.
    pub fn new() -> Self {
        let mut registrar = Registrar::default();
        let families = Families::registered(&mut registrar);
        Self(Arc::new(Inner {
            families,
            services: NameLabels::default(),
            pools: NameLabels::default(),
            unhealthy: Mutex::default(),
            registrar,
        }))
    }

    /// What `/metrics` serves, as [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let Registrar { registry, descriptions } = &self.0.registrar;
        exposition::encode(registry, descriptions)
    }

    // --- port allocation

    /// Starts the counters of a pool at 0, so that a rate sees the first grant.
    pub fn preset_pool(&self, pool: &str) {
        let (families, pool) = (&self.0.families, self.pool(pool));
        for family in
            [&families.ports_allocated, &families.ports_released, &families.port_conflicts]
        {
            drop(family.get_or_create(&pool));
        }
    }

    /// A port was granted from the pool (`service_type`).
    pub fn port_allocated(&self, pool: &str) {
        self.0.families.ports_allocated.get_or_create(&self.pool(pool)).inc();
    }

    /// A port of the pool was given back.
    pub fn port_released(&self, pool: &str) {
        self.0.families.ports_released.get_or_create(&self.pool(pool)).inc();
    }

    /// A port that would have been the first choice was taken.
    pub fn port_conflict(&self, pool: &str) {
        self.0.families.port_conflicts.get_or_create(&self.pool(pool)).inc();
    }

    // --- service registry

    /// An instance of the service registered.
    pub fn service_registered(&self, service: &str) {
        self.0.families.registered.get_or_create(&self.service(service)).inc();
    }

    /// An instance of the service went, by itself or by the end of its lease.
    pub fn service_deregistered(&self, service: &str) {
        self.0.families.deregistered.get_or_create(&self.service(service)).inc();
    }

    /// The service was looked up in the registry. One that was not found may be made up, and
    /// leaves room for the labels of those that exist.
    pub fn service_lookup(&self, service: &str, result: OperationResult, took: Duration) {
        let Inner { families, services, .. } = &*self.0;
        let service_name = match result {
            OperationResult::Success => services.label(service),
            OperationResult::Failure => services.unverified_label(service),
        };
        let lookup = Lookup { service_name: service_name.clone(), result };
        families.lookups.get_or_create(&lookup).inc();
        let service = Service { service_name };
        families.lookup_duration.get_or_create(&service).observe(took.as_secs_f64());
    }

    // --- discovery client

    /// Starts the counters of a discovery strategy at 0, so that a rate sees the first lookup.
    pub fn preset_strategy(&self, strategy: &'static str) {
        for result in [OperationResult::Success, OperationResult::Failure] {
            drop(self.0.families.requests.get_or_create(&Request { strategy, result }));
        }
    }

    /// A strategy was asked.
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

    /// The cache had a fresh endpoint of the service.
    pub fn cache_hit(&self, service: &str) {
        self.0.families.cache_hits.get_or_create(&self.service(service)).inc();
    }

    /// The cache had no fresh endpoint of the service.
    pub fn cache_miss(&self, service: &str) {
        self.0.families.cache_misses.get_or_create(&self.service(service)).inc();
    }

    /// A stale endpoint of the service was served because every strategy failed.
    pub fn cache_stale_served(&self, service: &str) {
        self.0.families.cache_stale.get_or_create(&self.service(service)).inc();
    }

    // --- broadcast service

    /// An announcement left.
    pub fn announcement_sent(&self, action: &'static str) {
        self.0.families.sent.get_or_create(&Action { action }).inc();
    }

    /// An announcement came in and was believed.
    pub fn announcement_received(&self, action: &'static str) {
        self.0.families.received.get_or_create(&Action { action }).inc();
    }

    /// A datagram could not be sent, or one that came in was dropped.
    pub fn broadcast_error(&self, kind: BroadcastErrorKind) {
        self.0.families.broadcast_errors.get_or_create(&Error { r#type: kind }).inc();
    }

    // --- health

    /// An instance of the service was checked.
    pub fn health_check(&self, service: &str, result: OperationResult) {
        let service_name = self.0.services.label(service);
        let checked = Lookup { service_name, result };
        self.0.families.health_checks.get_or_create(&checked).inc();
    }

    /// How many instances of the service are critical now.
    pub fn unhealthy_services(&self, service: &str, count: usize) {
        let label = self.service(service);
        let mut shared = self.0.unhealthy.lock();
        let count = match label.service_name.is_shared() {
            true => shared.set(service, count),
            false => count,
        };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0.families.unhealthy.get_or_create(&label).set(count);
    }

    fn pool(&self, pool: &str) -> Pool {
        Pool { service_type: self.0.pools.label(pool) }
    }

    fn service(&self, service: &str) -> Service {
        Service { service_name: self.0.services.label(service) }
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
