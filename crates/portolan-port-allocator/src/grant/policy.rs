//! Which ports a service may have, and which of them is tried first. Decides, and touches nothing:
//! whether a port is free is not known here.

mod plan;

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use portolan_core::{Pool, is_blocked_by_browsers, quoted};
use portolan_host_facts::SystemPorts;

pub(crate) use plan::{Candidate, Choice, Plan};

use crate::config::{PoolRange, PortAllocatorConfig};
use crate::error::AllocatorError;
use crate::grant::rejection::Cause;
use crate::request::PortRequest;

/// The rules of the configuration.
#[derive(Debug)]
pub(crate) struct Policy {
    enabled: bool,
    pools: BTreeMap<String, PoolRange>,
    reserved: HashSet<u16>,
    services: BTreeMap<String, String>,
    allow_ephemeral: bool,
    system_ports: OnceLock<SystemPorts>,
}

// === impl Policy ===

impl Policy {
    /// The rules of this configuration, where they agree with each other.
    pub(crate) fn new(config: &PortAllocatorConfig) -> Result<Self, AllocatorError> {
        let policy = Self {
            enabled: config.enabled,
            pools: config.port_ranges.clone(),
            reserved: config.reserved_ports.iter().copied().collect(),
            services: config.services.clone(),
            allow_ephemeral: config.allow_ephemeral,
            system_ports: OnceLock::new(),
        };
        policy.services.values().try_for_each(|pool| policy.pool(pool).map(drop))?;
        Ok(policy)
    }

    /// What this service may have, where its wish is one that can be granted at all.
    pub(crate) fn plan(&self, request: &PortRequest) -> Result<Plan<'_>, AllocatorError> {
        if !self.enabled {
            return Err(AllocatorError::Disabled);
        }
        let pool = self.pool_of(request)?;
        let (default, range) = match (pool, request.range) {
            (_, Some(range)) => (None, Some(range)),
            (Some((name, pool)), None) => (Some(pool.default_port(name)), Some(pool.range())),
            (None, None) => (None, None),
        };
        let ephemeral = request.allow_ephemeral.unwrap_or(self.allow_ephemeral);
        let plan = Plan {
            pool: pool.map(|(name, _)| name),
            preferred: request.preferred.or(default),
            range,
            ephemeral: ephemeral.then(|| self.system_ports()),
            http: request.http.unwrap_or_else(|| pool.is_some_and(|(name, p)| p.speaks_http(name))),
        };
        self.check(request, &plan)?;
        Ok(plan)
    }

    /// Which rule keeps the service from having the port, whoever else has it.
    pub(crate) fn forbids(&self, port: u16, plan: &Plan<'_>) -> Option<Cause> {
        if self.is_reserved(port) {
            return Some(Cause::Reserved);
        }
        if plan.http && is_blocked_by_browsers(port) {
            return Some(Cause::BlockedByBrowsers);
        }
        // A pool that has the port is what it is reserved for.
        let is_reserved = plan.range.is_some() && self.system_ports().is_reserved(port);
        (is_reserved && self.pools_with(port).is_empty()).then_some(Cause::SystemReserved)
    }

    /// Whether the port is never granted.
    pub(crate) fn is_reserved(&self, port: u16) -> bool {
        self.reserved.contains(&port)
    }

    /// The pools that have the port as their default or in their range.
    pub(crate) fn pools_with(&self, port: u16) -> Vec<&str> {
        let has = |(name, pool): &(&String, &PoolRange)| {
            pool.range().contains(port) || pool.default_port(name) == port
        };
        self.pools.iter().filter(has).map(|(name, _)| name.as_str()).collect()
    }

    /// Whether some service may have the port: a pool has it, or any port will do.
    pub(crate) fn allows(&self, port: u16) -> bool {
        let of_a_pool = || !self.pools_with(port).is_empty();
        of_a_pool() || (self.allow_ephemeral && self.system_ports().is_ephemeral(port))
    }

    fn check(&self, request: &PortRequest, plan: &Plan<'_>) -> Result<(), AllocatorError> {
        let service = &request.service;
        match request.preferred {
            Some(0) => Err(AllocatorError::PreferredZero { service: service.clone() }),
            Some(port) if self.is_reserved(port) => Err(AllocatorError::PreferredReserved { port }),
            Some(port) if plan.http && is_blocked_by_browsers(port) => {
                Err(AllocatorError::PreferredBlocked { port })
            }
            Some(port) if !plan.falls_back_to(port) && !self.allows(port) => {
                Err(AllocatorError::PreferredOutside { port, allowed: self.allowed_ports() })
            }
            None if plan.is_nothing() => {
                let pools = self.pool_names();
                Err(AllocatorError::NowhereToLook { service: service.clone(), pools })
            }
            _ => Ok(()),
        }
    }

    /// The pool that the service names, else the one that it is configured for, else the one that
    /// its name tells.
    fn pool_of(&self, request: &PortRequest) -> Result<Option<(&str, &PoolRange)>, AllocatorError> {
        let service = request.service.as_str();
        let said = request.pool.as_ref().or_else(|| self.services.get(service));
        if let Some(name) = said {
            return self.pool(name).map(Some);
        }
        let told = Pool::of_service(service).and_then(|pool| self.pools.get_key_value(pool.name));
        Ok(told.map(|(name, pool)| (name.as_str(), pool)))
    }

    fn pool(&self, name: &str) -> Result<(&str, &PoolRange), AllocatorError> {
        match self.pools.get_key_value(name) {
            Some((name, pool)) => Ok((name, pool)),
            None => {
                Err(AllocatorError::UnknownPool { pool: quoted(name), pools: self.pool_names() })
            }
        }
    }

    fn system_ports(&self) -> &SystemPorts {
        self.system_ports.get_or_init(SystemPorts::read)
    }

    fn pool_names(&self) -> String {
        self.pools.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    fn allowed_ports(&self) -> String {
        let port = |(name, pool): (&String, &PoolRange)| {
            format!("{name} {} and {}", pool.default_port(name), pool.range())
        };
        self.pools.iter().map(port).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests;
