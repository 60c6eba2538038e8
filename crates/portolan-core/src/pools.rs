//! The pool catalogue: the pools, their ports, and the protocols of their services.
//!
//! A catalogue is built from the settings (`port_allocator.port_ranges` and
//! `port_allocator.services`), without I/O. Everything that needs to know about pools asks the same
//! catalogue; the built-in table only supplies what the settings leave open.

mod built_in;
mod range;

use std::collections::BTreeMap;
use std::fmt;

pub use range::{InvalidPoolRange, PoolRange};

use crate::{PortRange, Protocol};
use built_in::BuiltIn;

/// A pool: the ports and the common properties of one type of service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pool {
    /// The name, as written in settings, flags and metric labels.
    pub name: String,
    /// The port that is tried first. It may lie outside `range`.
    pub default_port: u16,
    /// The ports that are tried when the default port is taken.
    pub range: PortRange,
    /// Whether browsers connect to its services, so that ports blocked by browsers are avoided.
    pub http: bool,
    /// The protocol of its services; `None` if neither the settings nor the built-in table says.
    pub protocol: Option<Protocol>,
    own_names: &'static [&'static str],
}

/// The pools of a configuration by name, and the services that are assigned to one by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pools {
    pools: BTreeMap<String, Pool>,
    services: BTreeMap<String, String>,
}

// === impl Pool ===

impl Pool {
    /// Creates a pool from its settings; see [`Pools::new`] for what they may leave open.
    pub fn new(name: &str, settings: &PoolRange) -> Self {
        let built_in = BuiltIn::with_name(name);
        let range = settings.range();
        let default_port = settings.default_port().or(built_in.map(|pool| pool.default_port));
        let http = settings.http();
        let protocol = built_in.map(|pool| pool.protocol);
        let protocol = protocol.or((http == Some(true)).then_some(built_in::HTTP));
        Self {
            name: name.to_owned(),
            default_port: default_port.unwrap_or(range.start()),
            range,
            http: http.unwrap_or(protocol == Some(built_in::HTTP)),
            protocol: protocol.and_then(|protocol| protocol.parse().ok()),
            own_names: built_in.map_or(&[], |pool| pool.own_names),
        }
    }

    /// Returns whether the port is the pool's default port or lies in its range.
    pub fn has_port(&self, port: u16) -> bool {
        self.default_port == port || self.range.contains(port)
    }
}

// === impl Pools ===

impl Pools {
    /// Builds the catalogue from the settings `port_ranges` (pool name to range) and `services`
    /// (service name to pool name).
    ///
    /// A default port, an `http` flag or a protocol that the settings leave open is that of the
    /// built-in pool with the same name. Any other pool starts at its first port, is not for
    /// browsers, and has a protocol only if `http` is true.
    pub fn new(ranges: &BTreeMap<String, PoolRange>, services: &BTreeMap<String, String>) -> Self {
        let pools = ranges.iter().map(|(name, range)| (name.clone(), Pool::new(name, range)));
        Self { pools: pools.collect(), services: services.clone() }
    }

    /// Returns the pool with this name.
    pub fn get(&self, name: &str) -> Option<&Pool> {
        self.pools.get(name)
    }

    /// Returns every pool, in order of its name.
    pub fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values()
    }

    /// Returns the pool of a service: the one assigned in the settings, or the one that a word of
    /// the service's name implies (`postgres-primary` is a `database`).
    pub fn of_service(&self, service: &str) -> Option<&Pool> {
        let assigned = self.services.get(service).map(String::as_str);
        self.get(assigned.or_else(|| built_in::implied_by(service))?)
    }

    /// Returns the pool whose type of service this name denotes as such, with no instance
    /// distinguished: `postgres`, but not `postgres-2`.
    pub fn with_own_name(&self, service: &str) -> Option<&Pool> {
        let is_own = |pool: &&Pool| pool.own_names.iter().any(|n| service.eq_ignore_ascii_case(n));
        self.iter().find(is_own)
    }

    /// Returns every pool that has the port as its default port or in its range.
    pub fn with_port(&self, port: u16) -> impl Iterator<Item = &Pool> {
        self.iter().filter(move |pool| pool.has_port(port))
    }

    /// Returns the protocol of a service: that of the given pool, or else that of the service's own.
    pub fn protocol(&self, pool: Option<&str>, service: &str) -> Option<Protocol> {
        let pools = [pool.and_then(|pool| self.get(pool)), self.of_service(service)];
        pools.into_iter().flatten().find_map(|pool| pool.protocol.clone())
    }

    /// Returns the first service that is assigned to a pool that does not exist, and that pool.
    pub fn dangling_service(&self) -> Option<(&str, &str)> {
        let dangling = self.services.iter().find(|(_, pool)| !self.pools.contains_key(*pool));
        dangling.map(|(service, pool)| (service.as_str(), pool.as_str()))
    }
}

/// The six built-in pools, with no service assigned.
impl Default for Pools {
    fn default() -> Self {
        Self::new(&PoolRange::built_in(), &BTreeMap::new())
    }
}

/// The names of the pools, separated by commas.
impl fmt::Display for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pools.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests;
