//! Tries the port that a service has by convention, on this host: fastest of all, where it may be
//! trusted.
//!
//! "Something listens on 5432" is no answer for `postgres-2`. A hit counts only where the port is
//! this service's: it holds the reservation, or its name means the type itself (or is configured
//! for the port) and nobody holds one; and where what listens there speaks as the type does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use portolan_core::duration::format_rounded;
use portolan_core::pool::POOLS;
use portolan_core::{
    HealthStatus, Host, Pool, Registration, Scope, ServiceEndpoint, ServiceName, Ttl,
};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::handshake::Handshake;
use crate::reservations::{Reservation, Reservations};
use crate::strategy::{Candidate, Completeness, Kind, Strategy, StrategyOutcome, StrategyQuery};

/// Where the host is looked for: a server may listen on either.
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

pub(crate) static KIND: Kind = Kind {
    name: "default",
    completeness: Completeness::One,
    retries: false,
    timeout: |timeouts| timeouts.default_port_check,
    build: |deps| {
        Ok(Arc::new(DefaultPort {
            ports: deps.config.default_ports.clone(),
            reservations: Arc::clone(&deps.reservations),
        }))
    },
};

struct DefaultPort {
    ports: BTreeMap<ServiceName, NonZeroU16>,
    reservations: Arc<dyn Reservations>,
}

/// A port that a name has by convention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Convention {
    pub(crate) port: u16,
    /// The type of service that has this port, where one does.
    pub(crate) pool: Option<&'static Pool>,
    /// Whether the name is the type's own or configured for the port, so that it needs no
    /// reservation.
    own: bool,
}

// === impl DefaultPort ===

impl DefaultPort {
    async fn look(&self, query: &StrategyQuery) -> StrategyOutcome {
        let name = &query.name;
        let Some(convention) = Convention::of(name, &self.ports) else {
            return StrategyOutcome::Skip(format!("no default port is known for {name}"));
        };
        let scope = match self.owner(query, &convention) {
            Ok(scope) => scope,
            Err(outcome) => return outcome,
        };
        match connect(query, &convention, scope).await {
            // Somebody may have taken the port between the look at its owner and the connection.
            found @ StrategyOutcome::Found(_) => {
                self.owner(query, &convention).map_or_else(|no| no, |_| found)
            }
            outcome => outcome,
        }
    }

    /// The scope in which the port is this service's now, or the answer that it is not.
    fn owner(
        &self,
        query: &StrategyQuery,
        convention: &Convention,
    ) -> Result<Scope, StrategyOutcome> {
        let held = self.reservations.reservations();
        let held = held.map_err(|error| StrategyOutcome::Failed(error.into()))?;
        belongs(query, convention, &held).map_err(unsure)
    }
}

impl Strategy for DefaultPort {
    fn ask<'a>(&'a self, query: &'a StrategyQuery) -> BoxFuture<'a, StrategyOutcome> {
        self.look(query).boxed()
    }
}

// === impl Convention ===

impl Convention {
    /// The port that the name has by configuration, or else by its type.
    pub(crate) fn of(
        name: &ServiceName,
        configured: &BTreeMap<ServiceName, NonZeroU16>,
    ) -> Option<Self> {
        let own_pool = POOLS.iter().find(|pool| pool.is_own_name(name.as_str()));
        let pool = own_pool.or_else(|| Pool::of_service(name.as_str()));
        if let Some(port) = configured.get(name) {
            let (port, pool) = (port.get(), pool_of_port(port.get(), pool));
            return Some(Self { port, pool, own: true });
        }
        let pool = pool?;
        Some(Self { port: pool.default_port, pool: Some(pool), own: own_pool.is_some() })
    }
}

/// The type that has the port: the one that the name speaks of, where it does have it.
fn pool_of_port(port: u16, of_name: Option<&'static Pool>) -> Option<&'static Pool> {
    let has = |pool: &Pool| pool.default_port == port || pool.fallback.contains(port);
    if let Some(pool) = of_name.filter(|pool| has(pool)) {
        return Some(pool);
    }
    // Two types share 9090, so the port alone does not tell which it is.
    let mut pools = POOLS.iter().filter(|pool| has(pool));
    pools.next().filter(|_| pools.next().is_none())
}

/// The scope in which the port is this service's, or why it is not.
fn belongs(
    query: &StrategyQuery,
    convention: &Convention,
    held: &[Reservation],
) -> Result<Scope, String> {
    let (name, port) = (&query.name, convention.port);
    let elsewhere = |scope: &Scope| {
        held.iter().find(|r| r.alive && r.service == *name && r.scope == *scope && r.port != port)
    };
    let holder = held.iter().find(|r| r.port == port);
    if let Some(Reservation { service, .. }) = holder.filter(|r| !r.alive) {
        // A registry forgets such a service at the end of its TTL; so must this.
        return Err(format!("the owner of {service} on port {port} is gone, only a child is left"));
    }
    for scope in &query.scopes {
        // Its own reservation says where it is, and the nearest scope counts.
        if holder.is_some_and(|r| r.service == *name && r.scope == *scope) {
            return Ok(scope.clone());
        }
        if let Some(other) = elsewhere(scope) {
            return Err(format!("{name} holds port {} here, not {port}", other.port));
        }
    }
    match holder {
        Some(Reservation { service, scope, .. }) => {
            Err(format!("port {port} is held by {service} of scope {scope}"))
        }
        None if convention.own => Ok(query.scopes[0].clone()),
        None => Err(format!(
            "nothing says that port {port} is that of {name}: it holds no reservation, and \
             discovery.default_ports does not name it"
        )),
    }
}

async fn connect(query: &StrategyQuery, convention: &Convention, scope: Scope) -> StrategyOutcome {
    // Within the limit, so that silence is an answer and not a time-out.
    let limit = query.limit.mul_f64(0.9);
    let deadline = Instant::now() + limit;
    let mut misses = Vec::new();
    for address in ADDRESSES {
        let peer = SocketAddr::new(address, convention.port);
        match timeout_at(deadline, check(peer, convention)).await {
            Ok(Ok(())) => return found(query, convention, address, scope),
            Ok(Err(miss)) => misses.push(miss),
            Err(_) => misses.push(Miss::Stranger(format!(
                "what listens on port {} says nothing within {}",
                convention.port,
                format_rounded(limit)
            ))),
        }
    }
    unsure(Miss::most_telling(misses))
}

/// Why an address is not the service's.
enum Miss {
    /// Nobody listens there.
    Nobody(String),
    /// Somebody else does.
    Stranger(String),
}

impl Miss {
    fn most_telling(misses: Vec<Self>) -> String {
        let stranger = |miss: &Self| matches!(miss, Self::Stranger(_));
        let at = misses.iter().position(stranger).unwrap_or(0);
        match misses.into_iter().nth(at) {
            Some(Self::Nobody(reason) | Self::Stranger(reason)) => reason,
            None => String::new(),
        }
    }
}

/// Connects and shakes hands, or says why not.
async fn check(peer: SocketAddr, convention: &Convention) -> Result<(), Miss> {
    let port = convention.port;
    let mut stream = TcpStream::connect(peer).await.map_err(|error| {
        Miss::Nobody(format!("nothing answers on port {port} of this host: {error}"))
    })?;
    let Some(handshake) = convention.pool.and_then(|pool| Handshake::of_pool(pool.name)) else {
        return Ok(());
    };
    let stranger = format!("what listens on port {port} does not speak {}", handshake.name);
    match handshake.succeeds(&mut stream, peer).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Miss::Stranger(stranger)),
        Err(error) => Err(Miss::Stranger(format!("{stranger}: {error}"))),
    }
}

fn found(
    query: &StrategyQuery,
    convention: &Convention,
    address: IpAddr,
    scope: Scope,
) -> StrategyOutcome {
    let host = Host::try_from(address).unwrap_or_else(|_| Host::loopback());
    let mut registration = Registration::new(query.name.clone(), host, convention.port);
    registration.scope = scope;
    if let Some(protocol) = convention.pool.and_then(|pool| pool.protocol.parse().ok()) {
        registration.protocol = protocol;
    }
    let endpoint = ServiceEndpoint {
        health: HealthStatus::Passing,
        health_reason: "it answers on its default port".to_owned(),
        ..registration.into_endpoint(Ttl::DEFAULT, Timestamp::now())
    };
    StrategyOutcome::Found(vec![Candidate::from(endpoint)])
}

/// A default port where nothing is says nothing of other ports.
fn unsure(reason: String) -> StrategyOutcome {
    StrategyOutcome::NotFound { reason, sure: false }
}

#[cfg(test)]
mod tests;
