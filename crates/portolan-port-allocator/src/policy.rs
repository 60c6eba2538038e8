//! Which ports a service may have, and which of them is tried first. Decides, and touches nothing:
//! whether a port is free is not known here.

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use portolan_core::{Pool, PortRange};

use crate::config::{PoolRange, PortAllocatorConfig};
use crate::ephemeral::EphemeralPorts;
use crate::error::AllocatorError;
use crate::request::PortRequest;
use crate::walk::Walk;

/// The rules of the configuration.
#[derive(Debug)]
pub(crate) struct Policy {
    enabled: bool,
    pools: BTreeMap<String, PoolRange>,
    reserved: HashSet<u16>,
    services: BTreeMap<String, String>,
    allow_ephemeral: bool,
    ephemeral: OnceLock<EphemeralPorts>,
}

/// What one service may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The pool that the service belongs to, where it has one.
    pub(crate) pool: Option<String>,
    /// The port it wants most.
    pub(crate) preferred: Option<u16>,
    /// Where it falls back to.
    pub(crate) range: Option<PortRange>,
    /// What is left after that, where it may go there.
    ephemeral: Option<EphemeralPorts>,
}

/// A port to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) port: u16,
    pub(crate) choice: Choice,
}

/// What speaks for a port, the strongest first (decisions 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The service had it last time.
    Sticky,
    /// It is what the service wants most.
    Preferred,
    /// It lies in the range of the service.
    Range,
    /// Any port will do.
    Ephemeral,
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
            ephemeral: OnceLock::new(),
        };
        policy.services.values().try_for_each(|pool| policy.pool(pool).map(drop))?;
        Ok(policy)
    }

    /// What this service may have, where its wish is one that can be granted at all.
    pub(crate) fn plan(&self, request: &PortRequest) -> Result<Plan, AllocatorError> {
        if !self.enabled {
            return Err(AllocatorError::Disabled);
        }
        let pool = self.pool_of(request)?;
        let wish = match (&pool, request.range) {
            (_, Some(range)) => (None, Some(range)),
            (Some((name, pool)), None) => (Some(pool.default_port(name)), Some(pool.range())),
            (None, None) => (None, None),
        };
        let ephemeral = request.allow_ephemeral.unwrap_or(self.allow_ephemeral);
        let plan = Plan {
            pool: pool.map(|(name, _)| name.to_owned()),
            preferred: request.preferred.or(wish.0),
            range: wish.1,
            ephemeral: ephemeral.then(|| self.ephemeral().clone()),
        };
        self.check(request, plan)
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
        of_a_pool() || (self.allow_ephemeral && self.ephemeral().contains(port))
    }

    fn check(&self, request: &PortRequest, plan: Plan) -> Result<Plan, AllocatorError> {
        let service = &request.service;
        match request.preferred {
            Some(0) => Err(AllocatorError::PreferredZero { service: service.clone() }),
            Some(port) if self.is_reserved(port) => Err(AllocatorError::PreferredReserved { port }),
            Some(port) if !plan.falls_back_to(port) && !self.allows(port) => {
                Err(AllocatorError::PreferredOutside { port, allowed: self.allowed_ports() })
            }
            None if plan == Plan::NOTHING => {
                let pools = self.pool_names();
                Err(AllocatorError::NowhereToLook { service: service.clone(), pools })
            }
            _ => Ok(plan),
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
            None => Err(AllocatorError::UnknownPool {
                pool: name.chars().take(80).collect(),
                pools: self.pool_names(),
            }),
        }
    }

    fn ephemeral(&self) -> &EphemeralPorts {
        self.ephemeral.get_or_init(EphemeralPorts::of_this_system)
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

// === impl Plan ===

impl Plan {
    const NOTHING: Self = Self { pool: None, preferred: None, range: None, ephemeral: None };

    /// Whether the service may have this port.
    pub(crate) fn allows(&self, port: u16) -> bool {
        self.preferred == Some(port) || self.falls_back_to(port)
    }

    fn falls_back_to(&self, port: u16) -> bool {
        self.range.is_some_and(|range| range.contains(port))
            || self.ephemeral.as_ref().is_some_and(|ephemeral| ephemeral.contains(port))
    }

    /// What the metrics call the kind of service: its pool, or `none`.
    pub(crate) fn label(&self) -> &str {
        self.pool.as_deref().unwrap_or("none")
    }

    /// Every port that the service may have, each once, the best first. A port of the last run that
    /// it may no longer have is left out.
    pub(crate) fn candidates(
        &self,
        sticky: Option<u16>,
        seed: u64,
    ) -> impl Iterator<Item = Candidate> + use<> {
        let as_choice = |choice| move |port| Candidate { port, choice };
        let sticky = sticky.filter(|port| self.allows(*port)).map(as_choice(Choice::Sticky));
        let preferred = self.preferred.map(as_choice(Choice::Preferred));
        let range = self.range.map(|range| ports_of(range, seed));
        let ephemeral = self.ephemeral.as_ref().map(|ephemeral| ephemeral.candidates(seed));
        let mut met = HashSet::new();
        sticky
            .into_iter()
            .chain(preferred)
            .chain(range.into_iter().flatten().map(as_choice(Choice::Range)))
            .chain(ephemeral.into_iter().flatten().map(as_choice(Choice::Ephemeral)))
            .filter(move |candidate| met.insert(candidate.port))
    }
}

fn ports_of(range: PortRange, seed: u64) -> impl Iterator<Item = u16> {
    Walk::new(range.count(), seed).filter_map(move |index| range.ports().nth(index))
}

#[cfg(test)]
mod tests;
