//! The port that a service has by convention: 5432 for `postgres`, or the configured one.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use portolan_core::pool::POOLS;
use portolan_core::{Pool, ServiceName};

/// The port that a service name implies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WellKnownPort {
    pub(crate) port: u16,
    /// The pool that the port belongs to, if it is known.
    pub(crate) pool: Option<&'static Pool>,
    /// Whether the name is the pool's own name or is configured for the port. Such a name has the
    /// port without a reservation.
    pub(crate) is_own: bool,
}

// === impl WellKnownPort ===

impl WellKnownPort {
    /// Returns the configured port of the service, or else the default port of its pool.
    pub(crate) fn for_service(
        name: &ServiceName,
        configured: &BTreeMap<ServiceName, NonZeroU16>,
    ) -> Option<Self> {
        let own_pool = POOLS.iter().find(|pool| pool.is_own_name(name.as_str()));
        let pool = own_pool.or_else(|| Pool::of_service(name.as_str()));
        if let Some(port) = configured.get(name) {
            let (port, pool) = (port.get(), pool_of_port(port.get(), pool));
            return Some(Self { port, pool, is_own: true });
        }
        let pool = pool?;
        Some(Self { port: pool.default_port, pool: Some(pool), is_own: own_pool.is_some() })
    }
}

/// Returns the pool that the port belongs to. If several pools share the port, only the pool of the
/// service's name counts.
fn pool_of_port(port: u16, of_name: Option<&'static Pool>) -> Option<&'static Pool> {
    let has = |pool: &Pool| pool.default_port == port || pool.fallback.contains(port);
    if let Some(pool) = of_name.filter(|pool| has(pool)) {
        return Some(pool);
    }
    let mut pools = POOLS.iter().filter(|pool| has(pool));
    pools.next().filter(|_| pools.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_implies_its_pool_only_if_the_port_is_not_shared() {
        let pool_of = |name: &str, port: u16| {
            let name: ServiceName = name.parse().unwrap();
            let configured = BTreeMap::from([(name.clone(), NonZeroU16::new(port).unwrap())]);
            let well_known = WellKnownPort::for_service(&name, &configured).unwrap();
            assert!(well_known.is_own && well_known.port == port);
            well_known.pool.map(|pool| pool.name)
        };
        assert_eq!(pool_of("orders", 5432), Some("database"));
        assert_eq!(pool_of("orders", 8085), Some("api"));
        assert_eq!(pool_of("orders", 9090), None);
        assert_eq!(pool_of("orders-grpc", 9090), Some("grpc"));
        assert_eq!(pool_of("orders-db", 3306), None);
        let orders = "orders".parse().unwrap();
        assert!(WellKnownPort::for_service(&orders, &BTreeMap::new()).is_none());
    }
}
