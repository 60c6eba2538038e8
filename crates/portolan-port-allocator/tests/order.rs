//! Whole allocators against a plain model of the order of choice (decisions 1.3): whatever sessions,
//! strangers and services do, each gets the port that the model says, or is refused for its reasons.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;

use portolan_port_allocator::{
    AllocatorError, Depth, PortAllocator, PortLease, Rejection, RejectionReason,
};
use proptest::prelude::*;
use support::{World, wish};

const SERVICES: [&str; 4] = ["api", "web", "db", "cache"];
const PORTS: u16 = 4;
const SESSIONS: usize = 3;

/// What somebody does. Ports are told by their place in the pool.
#[derive(Debug, Clone)]
enum Deed {
    Request { session: usize, service: &'static str, depth: Depth },
    Release { session: usize, service: &'static str },
    EndSession { session: usize },
    StrangerComes { place: u16 },
    StrangerGoes { place: u16 },
}

/// Who has which port, and who had which: nothing but maps.
#[derive(Debug, Default)]
struct Model {
    sessions: [ModelSession; SESSIONS],
    strangers: BTreeMap<u16, TcpListener>,
    /// What is kept for the next run.
    kept: BTreeMap<&'static str, u16>,
}

#[derive(Debug, Default)]
struct ModelSession {
    held: BTreeMap<&'static str, u16>,
    /// What it read when it first asked, and added since.
    known: Option<BTreeMap<&'static str, u16>>,
}

/// The real thing.
#[derive(Default)]
struct RealSession {
    // In this order: a session ends after its leases.
    leases: BTreeMap<&'static str, PortLease>,
    allocator: Option<PortAllocator>,
}

// === impl Model ===

impl Model {
    /// The place of the port that is granted; or every place that was tried, in order, with the
    /// service that has it, or none where it is a stranger.
    fn request(
        &mut self,
        session: usize,
        service: &'static str,
    ) -> Result<u16, Vec<(u16, Option<&'static str>)>> {
        let kept = self.kept.clone();
        let known = self.sessions[session].known.get_or_insert(kept);
        let last = known.get(service).copied();
        if let Some(place) = self.sessions[session].held.get(service) {
            return Ok(*place);
        }
        let order = last.into_iter().chain((0..PORTS).filter(|place| last != Some(*place)));
        let mut refused = Vec::new();
        for place in order {
            match self.holder(place) {
                Some(holder) => refused.push((place, holder)),
                None => {
                    self.grant(session, service, place);
                    return Ok(place);
                }
            }
        }
        Err(refused)
    }

    fn grant(&mut self, session: usize, service: &'static str, place: u16) {
        let session = &mut self.sessions[session];
        session.held.insert(service, place);
        let known = session.known.as_mut().unwrap();
        if known.insert(service, place) != Some(place) {
            self.kept.insert(service, place);
        }
    }

    fn holder(&self, place: u16) -> Option<Option<&'static str>> {
        let leases = self.sessions.iter().flat_map(|session| &session.held);
        let mut of_place = leases.filter(|(_, held)| **held == place);
        let leased = of_place.next().map(|(service, _)| Some(*service));
        leased.or_else(|| self.strangers.contains_key(&place).then_some(None))
    }
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let session = || 0..SESSIONS;
    let service = || prop::sample::select(&SERVICES[..]);
    let depth = prop::sample::select(vec![Depth::Bound, Depth::Guarded, Depth::Claimed]);
    let request = (session(), service(), depth)
        .prop_map(|(session, service, depth)| Deed::Request { session, service, depth });
    let release =
        (session(), service()).prop_map(|(session, service)| Deed::Release { session, service });
    let deed = prop_oneof![
        6 => request,
        3 => release,
        1 => session().prop_map(|session| Deed::EndSession { session }),
        1 => (0..PORTS).prop_map(|place| Deed::StrangerComes { place }),
        1 => (0..PORTS).prop_map(|place| Deed::StrangerGoes { place }),
    ];
    prop::collection::vec(deed, 1..40)
}

/// What the real allocator says, in the model's words.
fn request(
    world: &World,
    session: &mut RealSession,
    service: &'static str,
    depth: Depth,
) -> Result<u16, Vec<(u16, Option<&'static str>)>> {
    let allocator = session.allocator.get_or_insert_with(|| world.allocator());
    let place = |port: u16| port - world.port(0);
    let holder = |refusal: Rejection| match refusal.reason {
        RejectionReason::Leased(holder) => {
            let known = SERVICES.into_iter().find(|service| holder.service == **service);
            (place(refusal.port), Some(known.unwrap()))
        }
        RejectionReason::ForeignProcess(_) => (place(refusal.port), None),
        other => panic!("{other:?}"),
    };
    match allocator.request(wish(service, depth)) {
        Ok(lease) => {
            let port = lease.port();
            session.leases.insert(service, lease);
            Ok(place(port))
        }
        Err(AllocatorError::NoPortsAvailable { candidates, .. }) => {
            Err(candidates.into_iter().map(holder).collect())
        }
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn every_service_gets_the_port_that_the_model_says(deeds in deeds()) {
        let world = World::with_ports(PORTS);
        let mut model = Model::default();
        let mut real: [RealSession; SESSIONS] = Default::default();
        for deed in deeds {
            match deed {
                Deed::Request { session, service, depth } => {
                    let expected = model.request(session, service);
                    let found = request(&world, &mut real[session], service, depth);
                    prop_assert_eq!(found, expected, "{} asks in session {}", service, session);
                }
                Deed::Release { session, service } => {
                    model.sessions[session].held.remove(service);
                    real[session].leases.remove(service);
                }
                Deed::EndSession { session } => {
                    model.sessions[session] = ModelSession::default();
                    real[session] = RealSession::default();
                }
                Deed::StrangerComes { place } => {
                    // A guard keeps this one out, and so does another stranger.
                    if model.holder(place).is_none() {
                        let stranger = TcpListener::bind(("127.0.0.1", world.port(place)));
                        model.strangers.insert(place, stranger.unwrap());
                    }
                }
                Deed::StrangerGoes { place } => drop(model.strangers.remove(&place)),
            }
        }
    }
}
