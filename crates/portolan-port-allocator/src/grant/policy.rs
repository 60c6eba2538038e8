//! The policy: which ports a service may have, in which order they are tried, and which are never
//! granted. Pure functions of the settings and the request.

mod plan;

use std::collections::HashSet;
use std::sync::OnceLock;

use portolan_core::pools::Pool;
use portolan_core::{Pools, PortRange, is_blocked_by_browsers, quoted};
use portolan_host_facts::SystemPorts;

pub(crate) use plan::{Candidate, Choice, Plan};

use crate::config::PortAllocatorConfig;
use crate::error::AllocatorError;
use crate::grant::rejection::Cause;
use crate::request::{EphemeralFallback, PortRequest};

/// The rules of the settings.
#[derive(Debug)]
pub(crate) struct Policy {
    enabled: bool,
    pools: Pools,
    reserved: HashSet<u16>,
    allow_ephemeral: bool,
    restrict_to_ranges: bool,
    system_ports: OnceLock<SystemPorts>,
}

// === impl Policy ===

impl Policy {
    /// Builds the policy; an error if the settings contradict each other.
    pub(crate) fn new(config: &PortAllocatorConfig) -> Result<Self, AllocatorError> {
        let policy = Self {
            enabled: config.enabled,
            pools: config.pools(),
            reserved: config.reserved_ports.iter().copied().collect(),
            allow_ephemeral: config.allow_ephemeral,
            restrict_to_ranges: config.restrict_to_ranges,
            system_ports: OnceLock::new(),
        };
        match policy.pools.dangling_service() {
            Some((_, pool)) => Err(policy.unknown_pool(pool)),
            None => Ok(policy),
        }
    }

    /// Returns the ports that the request may get; an error if it can never be granted.
    pub(crate) fn plan(&self, request: &PortRequest) -> Result<Plan<'_>, AllocatorError> {
        if !self.enabled {
            return Err(AllocatorError::Disabled);
        }
        let pool = self.pool_of(request)?;
        let (default, range) = match (pool, request.range) {
            _ if request.strict => (None, None),
            (_, Some(range)) => (None, Some(range)),
            (Some(pool), None) => (Some(pool.default_port), Some(pool.range)),
            (None, None) => (None, request.preferred.first().and_then(|port| range_above(*port))),
        };
        let is_explicit = !request.preferred.is_empty();
        let preferred =
            if is_explicit { request.preferred.clone() } else { Vec::from_iter(default) };
        let is_unspecified = preferred.is_empty() && range.is_none();
        let ephemeral = match request.ephemeral {
            _ if request.strict => false,
            EphemeralFallback::Configured => self.allow_ephemeral,
            EphemeralFallback::IfUnspecified => self.allow_ephemeral || is_unspecified,
            EphemeralFallback::Always => true,
            EphemeralFallback::Never => false,
        };
        let plan = Plan {
            pool: pool.map(|pool| pool.name.as_str()),
            preferred,
            is_explicit,
            range,
            beyond: range
                .filter(|_| request.beyond_pool && request.range.is_none())
                .and_then(|range| range_above(range.end())),
            ephemeral: ephemeral.then(|| self.system_ports()),
            http: request.http.unwrap_or_else(|| pool.is_some_and(|pool| pool.http)),
        };
        self.check(request, &plan)?;
        Ok(plan)
    }

    /// Returns the rule that excludes the port for the service, whether or not the port is free.
    pub(crate) fn forbids(&self, port: u16, plan: &Plan<'_>) -> Option<Cause> {
        if self.is_reserved(port) {
            return Some(Cause::Reserved);
        }
        let is_pooled = || !self.pools_with(port).is_empty();
        if self.restrict_to_ranges && !plan.allows_ephemeral(port) && !is_pooled() {
            return Some(Cause::Restricted);
        }
        // What the request names itself, it may have.
        if plan.names(port) {
            return None;
        }
        if plan.http && is_blocked_by_browsers(port) {
            return Some(Cause::BlockedByBrowsers);
        }
        // A pool that contains the port is assumed to be what it is reserved for.
        let is_reserved = plan.range.is_some() && self.system_ports().is_reserved(port);
        (is_reserved && !is_pooled()).then_some(Cause::SystemReserved)
    }

    /// Whether the port is in `reserved_ports`.
    pub(crate) fn is_reserved(&self, port: u16) -> bool {
        self.reserved.contains(&port)
    }

    /// Returns the pools that contain the port.
    pub(crate) fn pools_with(&self, port: u16) -> Vec<&str> {
        self.pools.with_port(port).map(|pool| pool.name.as_str()).collect()
    }

    /// Whether some service may get the port: on request, or with `restrict_to_ranges` only from a pool or as an ephemeral
    /// port.
    pub(crate) fn allows(&self, port: u16) -> bool {
        let is_pooled = || !self.pools_with(port).is_empty();
        let is_ephemeral = || self.allow_ephemeral && self.system_ports().is_ephemeral(port);
        !self.restrict_to_ranges || is_pooled() || is_ephemeral()
    }

    fn check(&self, request: &PortRequest, plan: &Plan<'_>) -> Result<(), AllocatorError> {
        let service = || request.service.clone();
        if request.strict && (request.preferred.is_empty() || request.range.is_some()) {
            return Err(AllocatorError::StrictWithoutPort { service: service() });
        }
        request.preferred.iter().try_for_each(|port| self.check_preferred(*port, request, plan))?;
        if plan.is_nothing() {
            let pools = self.pools.to_string();
            return Err(AllocatorError::NoPortsConfigured { service: service(), pools });
        }
        Ok(())
    }

    fn check_preferred(
        &self,
        port: u16,
        request: &PortRequest,
        plan: &Plan<'_>,
    ) -> Result<(), AllocatorError> {
        if port == 0 {
            return Err(AllocatorError::PreferredZero { service: request.service.clone() });
        }
        match self.forbids(port, plan) {
            Some(Cause::Reserved) => Err(AllocatorError::PreferredReserved { port }),
            Some(_) => {
                Err(AllocatorError::PreferredOutside { port, allowed: self.allowed_ports() })
            }
            None => Ok(()),
        }
    }

    /// Returns the pool that the request names, or else that of the service.
    fn pool_of(&self, request: &PortRequest) -> Result<Option<&Pool>, AllocatorError> {
        match &request.pool {
            Some(name) => self.pools.get(name).ok_or_else(|| self.unknown_pool(name)).map(Some),
            None => Ok(self.pools.of_service(request.service.as_str())),
        }
    }

    fn unknown_pool(&self, name: &str) -> AllocatorError {
        AllocatorError::UnknownPool { pool: quoted(name), pools: self.pools.to_string() }
    }

    /// Returns the pool catalogue.
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    fn system_ports(&self) -> &SystemPorts {
        self.system_ports.get_or_init(SystemPorts::read)
    }

    fn allowed_ports(&self) -> String {
        let port = |pool: &Pool| format!("{} {} and {}", pool.name, pool.default_port, pool.range);
        self.pools.iter().map(port).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the hundred ports above one: the range of a service without a pool.
fn range_above(port: u16) -> Option<PortRange> {
    PortRange::new(port.checked_add(1)?, port.saturating_add(100)).ok()
}

#[cfg(test)]
mod tests;
