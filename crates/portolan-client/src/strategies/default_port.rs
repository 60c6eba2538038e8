//! The strategy `default`: probes the port that the service has by convention, on this host.
//!
//! An open port alone proves nothing: 5432 is not an answer for `postgres-2`. A hit counts only if
//! the port can belong to the service (the service holds the reservation, or its name means the type
//! itself or is configured for the port and no other service holds a reservation) and the listener
//! completes the type's handshake. Only the reservation proves which service it is; without it the hit
//! is [`Proof::WellKnownPort`], on which the client relies if no other strategy knows the service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::duration::format_rounded;
use portolan_core::{Host, Registration, Scope, Ttl};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::deps::Builtin;
use crate::handshake::Handshake;
use crate::reservations::{Reservation, Reservations, ReservationsError};
use crate::strategy::{
    Completeness, Proof, Strategy, StrategyError, StrategyFuture, StrategyKind, StrategyOutcome,
    StrategyQuery,
};
use crate::well_known_port::{WellKnownPort, WellKnownPorts};

/// The addresses to probe: a server may listen on either.
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

pub(crate) static STRATEGY: Builtin = Builtin {
    kind: KIND,
    build: |deps, _| {
        let ports = WellKnownPorts::new(deps.default_ports.clone(), deps.pools.clone());
        Arc::new(DefaultPort { ports, reservations: deps.reservations.clone() })
    },
};

const KIND: StrategyKind = StrategyKind {
    completeness: Completeness::One,
    timeout: Some(Duration::from_millis(100)),
    timeout_key: Some("default_port_check"),
    ..StrategyKind::new("default")
};

struct DefaultPort {
    ports: WellKnownPorts,
    reservations: Option<Arc<dyn Reservations>>,
}

// === impl DefaultPort ===

impl DefaultPort {
    async fn probe(&self, query: &StrategyQuery) -> StrategyOutcome {
        let name = &query.name;
        let Some(well_known) = self.ports.get(name) else {
            return StrategyOutcome::Skipped(format!("no default port is known for {name}"));
        };
        if self.reservations.is_none() && !self.ports.is_configured(name) {
            return StrategyOutcome::Skipped(format!(
                "the reservations of this host are not available, and discovery.default_ports has \
                 no {name}"
            ));
        }
        let (scope, _) = match self.owning_scope(query, &well_known) {
            Ok(owned) => owned,
            Err(outcome) => return outcome,
        };
        match connect(query, &well_known, scope).await {
            // The port may have changed hands between the first check and the connection.
            found @ StrategyOutcome::Found(_) => self
                .owning_scope(query, &well_known)
                .map_or_else(|no| no, |(_, proof)| found.proven_by(proof)),
            outcome => outcome,
        }
    }

    /// Returns the scope in which the port belongs to the service now and the proof of that, or the
    /// negative outcome.
    fn owning_scope(
        &self,
        query: &StrategyQuery,
        well_known: &WellKnownPort<'_>,
    ) -> Result<(Scope, Proof), StrategyOutcome> {
        let held = match &self.reservations {
            Some(reservations) => reservations
                .reservations()
                .map_err(|error| StrategyOutcome::Failed(error.into()))?,
            None => Vec::new(),
        };
        owning_scope(query, well_known, &held).map_err(not_found)
    }
}

impl Strategy for DefaultPort {
    fn kind(&self) -> StrategyKind {
        KIND
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(self.probe(query))
    }
}

impl From<ReservationsError> for StrategyError {
    fn from(error: ReservationsError) -> Self {
        Self::from_remedy(error)
    }
}

/// Returns the scope in which the port belongs to the service and the proof, or why it does not.
fn owning_scope(
    query: &StrategyQuery,
    well_known: &WellKnownPort<'_>,
    held: &[Reservation],
) -> Result<(Scope, Proof), String> {
    let (name, port) = (&query.name, well_known.port);
    let elsewhere = |scope: &Scope| {
        held.iter().find(|r| r.alive && r.service == *name && r.scope == *scope && r.port != port)
    };
    let holder = held.iter().find(|r| r.port == port);
    if let Some(Reservation { service, .. }) = holder.filter(|r| !r.alive) {
        // The registry expires such a service at the end of its TTL.
        return Err(format!(
            "the owner of {service} on port {port} has exited, only a child process is left"
        ));
    }
    for scope in &query.scopes {
        if holder.is_some_and(|r| r.service == *name && r.scope == *scope) {
            return Ok((scope.clone(), Proof::Leased));
        }
        if let Some(other) = elsewhere(scope) {
            return Err(format!("{name} holds port {} here, not {port}", other.port));
        }
    }
    match holder {
        Some(Reservation { service, scope, .. }) => {
            Err(format!("port {port} is held by {service} of scope {scope}"))
        }
        None if well_known.is_own => Ok((query.scopes[0].clone(), Proof::WellKnownPort)),
        None => Err(format!(
            "port {port} cannot be attributed to {name}: {name} holds no reservation, and \
             discovery.default_ports has no {name}"
        )),
    }
}

/// Why an address is not the service's.
enum Miss {
    /// No process accepted the connection.
    Closed(String),
    /// A process accepted it and did not complete the handshake.
    WrongProtocol(String),
}

async fn connect(
    query: &StrategyQuery,
    well_known: &WellKnownPort<'_>,
    scope: Scope,
) -> StrategyOutcome {
    let mut misses = Vec::new();
    for address in ADDRESSES {
        let peer = SocketAddr::new(address, well_known.port);
        let handshake = timeout_at(query.deadline.instant(), shake_hands(peer, well_known)).await;
        match handshake {
            Ok(Ok(())) => return found(query, well_known, address, scope),
            Ok(Err(miss)) => misses.push(miss),
            Err(_) => misses.push(Miss::WrongProtocol(format!(
                "the listener on port {} sent no answer within {}",
                well_known.port,
                format_rounded(query.deadline.limit())
            ))),
        }
    }
    // A listener that speaks another protocol says more than a closed port.
    match misses.into_iter().min_by_key(|miss| matches!(miss, Miss::Closed(_))) {
        Some(Miss::Closed(reason) | Miss::WrongProtocol(reason)) => not_found(reason),
        None => not_found(String::new()),
    }
}

/// Connects and completes the handshake of the pool.
async fn shake_hands(peer: SocketAddr, well_known: &WellKnownPort<'_>) -> Result<(), Miss> {
    let port = well_known.port;
    let mut stream = TcpStream::connect(peer).await.map_err(|error| {
        Miss::Closed(format!("nothing answers on port {port} of this host: {error}"))
    })?;
    let Some(handshake) = well_known.pool.and_then(Handshake::for_pool) else {
        return Ok(());
    };
    let wrong = format!("the listener on port {port} does not speak {}", handshake.name);
    match handshake.succeeds(&mut stream, peer).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Miss::WrongProtocol(wrong)),
        Err(error) => Err(Miss::WrongProtocol(format!("{wrong}: {error}"))),
    }
}

fn found(
    query: &StrategyQuery,
    well_known: &WellKnownPort<'_>,
    address: IpAddr,
    scope: Scope,
) -> StrategyOutcome {
    let host = Host::try_from(address).unwrap_or_else(|_| Host::loopback());
    let mut registration = Registration::new(query.name.clone(), host, well_known.port);
    registration.scope = scope;
    if let Some(protocol) = well_known.pool.and_then(|pool| pool.protocol.clone()) {
        registration.protocol = protocol;
    }
    // The handshake shows the kind of server and not its health, which its own check decides.
    let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::now());
    StrategyOutcome::Found(vec![endpoint.into()])
}

/// The service may listen on another port, so the outcome is never authoritative.
fn not_found(reason: String) -> StrategyOutcome {
    StrategyOutcome::NotFound { reason, authoritative: false }
}

#[cfg(test)]
mod tests;
