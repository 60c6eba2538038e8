//! Model-based test of the order of port choice (ADR 0003): whatever sessions, foreign processes and
//! services do, each service gets the port that the model predicts, or is refused for the same reasons.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;

use portolan_port_allocator::{
    AllocatorError, Depth, PortAllocator, PortLease, Rejection, RejectionReason,
};
use proptest::prelude::*;
use support::{TestEnv, request_for};

const SERVICES: [&str; 4] = ["api", "web", "db", "cache"];
const PORTS: u16 = 4;
const SESSIONS: usize = 3;

/// A step of the test. A place is the index of a port in the pool.
#[derive(Debug, Clone)]
enum Step {
    Request { session: usize, service: &'static str, depth: Depth },
    Release { session: usize, service: &'static str },
    EndSession { session: usize },
    ForeignStarts { place: u16 },
    ForeignEnds { place: u16 },
}

/// The model: which service holds which port, and which held it before.
#[derive(Debug, Default)]
struct Model {
    sessions: [ModelSession; SESSIONS],
    foreign: BTreeMap<u16, TcpListener>,
    /// The stored sticky ports.
    kept: BTreeMap<&'static str, u16>,
}

#[derive(Debug, Default)]
struct ModelSession {
    held: BTreeMap<&'static str, u16>,
    /// The sticky ports as of its first request, with its own since then.
    known: Option<BTreeMap<&'static str, u16>>,
}

/// A session of the real allocator.
#[derive(Default)]
struct RealSession {
    // Dropped in this order: the session after its leases.
    leases: BTreeMap<&'static str, PortLease>,
    allocator: Option<PortAllocator>,
}

// === impl Model ===

impl Model {
    /// The place of the granted port; or every place that was tried, in order, with the service that holds
    /// it, or none if it is a foreign process.
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
        leased.or_else(|| self.foreign.contains_key(&place).then_some(None))
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = || 0..SESSIONS;
    let service = || prop::sample::select(&SERVICES[..]);
    let depth = prop::sample::select(vec![Depth::Bound, Depth::Guarded, Depth::Claimed]);
    let request = (session(), service(), depth)
        .prop_map(|(session, service, depth)| Step::Request { session, service, depth });
    let release =
        (session(), service()).prop_map(|(session, service)| Step::Release { session, service });
    let step = prop_oneof![
        6 => request,
        3 => release,
        1 => session().prop_map(|session| Step::EndSession { session }),
        1 => (0..PORTS).prop_map(|place| Step::ForeignStarts { place }),
        1 => (0..PORTS).prop_map(|place| Step::ForeignEnds { place }),
    ];
    prop::collection::vec(step, 1..40)
}

/// Requests a port of the real allocator, with the result in the model's terms.
fn request(
    env: &TestEnv,
    session: &mut RealSession,
    service: &'static str,
    depth: Depth,
) -> Result<u16, Vec<(u16, Option<&'static str>)>> {
    let allocator = session.allocator.get_or_insert_with(|| env.allocator());
    let place = |port: u16| port - env.port(0);
    let holder = |refusal: Rejection| match refusal.reason {
        RejectionReason::Leased(holder) => {
            let known = SERVICES.into_iter().find(|service| holder.service == **service);
            (place(refusal.port), Some(known.unwrap()))
        }
        RejectionReason::ForeignProcess(_) => (place(refusal.port), None),
        other => panic!("{other:?}"),
    };
    match allocator.request(request_for(service, depth)) {
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
    fn every_service_gets_the_port_that_the_model_predicts(steps in steps()) {
        let env = TestEnv::with_ports(PORTS);
        let mut model = Model::default();
        let mut real: [RealSession; SESSIONS] = Default::default();
        for step in steps {
            match step {
                Step::Request { session, service, depth } => {
                    let expected = model.request(session, service);
                    let found = request(&env, &mut real[session], service, depth);
                    prop_assert_eq!(found, expected, "{} requests a port in session {}", service, session);
                }
                Step::Release { session, service } => {
                    model.sessions[session].held.remove(service);
                    real[session].leases.remove(service);
                }
                Step::EndSession { session } => {
                    model.sessions[session] = ModelSession::default();
                    real[session] = RealSession::default();
                }
                Step::ForeignStarts { place } => {
                    // A guard excludes this one, and so does another foreign process.
                    if model.holder(place).is_none() {
                        let listener = TcpListener::bind(("127.0.0.1", env.port(place)));
                        model.foreign.insert(place, listener.unwrap());
                    }
                }
                Step::ForeignEnds { place } => drop(model.foreign.remove(&place)),
            }
        }
    }
}
