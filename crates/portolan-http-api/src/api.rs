//! What the handlers share.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use portolan_metrics::Metrics;
use portolan_registry::Registry;

use crate::access::Guard;
use crate::{Limits, openapi};

/// What is served, and to whom. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    registry: Registry,
    metrics: Metrics,
    guard: Guard,
    version: String,
    openapi: Bytes,
    limits: Limits,
}

// === impl Api ===

impl Api {
    /// The API of the registry, open to everybody, with the default limits.
    pub fn new(registry: Registry, metrics: Metrics) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let openapi = openapi::document(&version);
        let (guard, limits) = (Guard::default(), Limits::default());
        Self(Arc::new(Inner { registry, metrics, guard, version, openapi, limits }))
    }

    /// Asks for this token (`Authorization: Bearer`) on everything but the health of the server
    /// and the description of its API. An empty token is matched by nothing.
    pub fn token(self, token: Option<String>) -> Self {
        self.with(|inner| inner.guard = Guard::new(token))
    }

    /// Says that the server has this version.
    pub fn version(self, version: impl Into<String>) -> Self {
        let version = version.into();
        self.with(|inner| {
            inner.openapi = openapi::document(&version);
            inner.version = version;
        })
    }

    /// Sets how much it puts up with.
    pub fn limits(self, limits: Limits) -> Self {
        self.with(|inner| inner.limits = limits)
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    // --- for the handlers

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.0.guard
    }

    pub(crate) fn server_version(&self) -> &str {
        &self.0.version
    }

    pub(crate) fn openapi(&self) -> Bytes {
        self.0.openapi.clone()
    }

    pub(crate) fn bounds(&self) -> &Limits {
        &self.0.limits
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, limits, .. } = self;
        f.debug_struct("Inner")
            .field("version", version)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}
