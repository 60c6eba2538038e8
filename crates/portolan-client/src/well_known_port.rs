//! The port that a service has by convention: 5432 for `postgres`, or the configured one.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use portolan_core::pools::Pool;
use portolan_core::{Pools, ServiceName};

/// The well-known ports of services: those in `discovery.default_ports`, then those of the pools.
#[derive(Debug, Clone, Default)]
pub(crate) struct WellKnownPorts {
    configured: BTreeMap<ServiceName, NonZeroU16>,
    pools: Pools,
}

/// The port that a service name implies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WellKnownPort<'a> {
    pub(crate) port: u16,
    /// The pool that the port belongs to, if it is known.
    pub(crate) pool: Option<&'a Pool>,
    /// Whether the name is the pool's own name or is configured for the port. Such a name has the
    /// port without a reservation.
    pub(crate) is_own: bool,
}

// === impl WellKnownPorts ===

impl WellKnownPorts {
    pub(crate) fn new(configured: BTreeMap<ServiceName, NonZeroU16>, pools: Pools) -> Self {
        Self { configured, pools }
    }

    /// Returns whether the settings name the service's port.
    pub(crate) fn is_configured(&self, name: &ServiceName) -> bool {
        self.configured.contains_key(name)
    }

    /// Returns the configured port of the service, or else the default port of its pool.
    pub(crate) fn get(&self, name: &ServiceName) -> Option<WellKnownPort<'_>> {
        let own_pool = self.pools.with_own_name(name.as_str());
        let pool = own_pool.or_else(|| self.pools.of_service(name.as_str()));
        if let Some(port) = self.configured.get(name) {
            let (port, pool) = (port.get(), self.pool_of_port(port.get(), pool));
            return Some(WellKnownPort { port, pool, is_own: true });
        }
        let pool = pool?;
        let (port, is_own) = (pool.default_port, own_pool.is_some());
        Some(WellKnownPort { port, pool: Some(pool), is_own })
    }

    /// Returns the pools.
    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Returns the pool that the port belongs to. If several pools share the port, only the pool of
    /// the service's name counts.
    fn pool_of_port<'a>(&'a self, port: u16, of_name: Option<&'a Pool>) -> Option<&'a Pool> {
        if let Some(pool) = of_name.filter(|pool| pool.has_port(port)) {
            return Some(pool);
        }
        let mut pools = self.pools.with_port(port);
        pools.next().filter(|_| pools.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{PoolRange, PortRange};

    use super::*;

    #[test]
    fn port_implies_its_pool_only_if_the_port_is_not_shared() {
        let pool_of = |name: &str, port: u16| {
            let name: ServiceName = name.parse().unwrap();
            let configured = BTreeMap::from([(name.clone(), NonZeroU16::new(port).unwrap())]);
            let ports = WellKnownPorts::new(configured, Pools::default());
            let well_known = ports.get(&name).unwrap();
            assert!(well_known.is_own && well_known.port == port);
            well_known.pool.map(|pool| pool.name.clone())
        };
        assert_eq!(pool_of("orders", 5432).as_deref(), Some("database"));
        assert_eq!(pool_of("orders", 8085).as_deref(), Some("api"));
        assert_eq!(pool_of("orders", 9090), None);
        assert_eq!(pool_of("orders-grpc", 9090).as_deref(), Some("grpc"));
        assert_eq!(pool_of("orders-db", 3306), None);
        assert!(WellKnownPorts::default().get(&"orders".parse().unwrap()).is_none());
    }

    #[test]
    fn configured_pool_has_its_default_port() {
        let range = PoolRange::new(PortRange::new(5500, 5510).unwrap()).with_default(5499);
        let ranges = BTreeMap::from([("queue".to_owned(), range)]);
        let services = BTreeMap::from([("orders".to_owned(), "queue".to_owned())]);
        let ports = WellKnownPorts::new(BTreeMap::new(), Pools::new(&ranges, &services));
        let well_known = ports.get(&"orders".parse().unwrap()).unwrap();
        assert_eq!((well_known.port, well_known.is_own), (5499, false));
    }
}
