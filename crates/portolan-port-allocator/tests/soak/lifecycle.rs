//! The lifecycle of a lease: granted, listened on after a while, released after another.

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use portolan_port_allocator::{Depth, PortLease};
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::child::{self, Served};
use crate::oracle::{Figure, Oracle, Safety};
use crate::worker::{Behaviour, report_fault};

/// The longest time until a program binds its port, and the longest time that it listens.
const DELAY: Duration = Duration::from_secs(2);
const HOLD: Duration = Duration::from_secs(1);

/// The probability that an owner leaves the lease to a child and is killed; that it passes its socket on.
const INHERITED: f64 = 0.0005;
const HAND_OVERS: f64 = 0.005;
/// The probability that a program does not start beside a guard.
const STUBBORN: f64 = 0.05;
/// The probability that a server has a client.
const CLIENTS: f64 = 0.001;

pub(crate) struct Lifecycle {
    pub(crate) service: usize,
    /// When the next step is due.
    pub(crate) due: Instant,
    port: u16,
    depth: Depth,
    safety: Safety,
    granted: u64,
    // Dropped in this order: the server before its lease.
    server: Option<Server>,
    _datagrams: Option<UdpSocket>,
    lease: Option<PortLease>,
}

/// The server on the port.
enum Server {
    /// A foreign process bound the port first.
    Lost,
    Here(#[allow(dead_code, reason = "it only has to be open")] TcpListener),
    Child(Served),
}

// === impl Lifecycle ===

impl Lifecycle {
    pub(crate) fn begin(
        oracle: &Oracle,
        service: usize,
        lease: PortLease,
        behaviour: Behaviour,
    ) -> Self {
        oracle.count(Figure::Grants);
        let (port, depth) = (lease.port(), lease.depth());
        let safety = match depth {
            Depth::Bound => Safety::Sealed,
            Depth::Guarded => Safety::Guarded,
            Depth::Claimed => Safety::Number,
        };
        let datagrams = lease.udp_socket().unwrap();
        let owned = oracle.own(port, safety).and_then(|()| match datagrams {
            Some(_) => oracle.protect_datagrams(port),
            None => Ok(()),
        });
        if let Err(pid) = owned {
            let what = format!("port {port} ({depth}) was granted while process {pid} has it");
            report_fault(oracle, Figure::Duplicates, &what);
        }
        if datagrams.is_some() {
            oracle.count(Figure::Datagrams);
        }
        let (due, granted) = (Instant::now() + random_share_of(DELAY), oracle.moment());
        let (server, lease) = (None, keep(lease, behaviour));
        Self { service, due, port, depth, safety, granted, server, _datagrams: datagrams, lease }
    }

    /// Takes the next step; none after the last.
    pub(crate) fn advance(mut self, oracle: &Oracle) -> Option<Self> {
        if self.server.is_some() {
            self.release(oracle);
            return None;
        }
        let server = self.listen(oracle);
        self.server = Some(server);
        self.due = Instant::now() + random_share_of(HOLD);
        Some(self)
    }

    /// Releases the port.
    pub(crate) fn release(self, oracle: &Oracle) {
        let connection = match &self.server {
            Some(Server::Child(served)) => served.connect(self.port),
            _ => Ok(None),
        };
        if let Err(error) = &connection {
            self.report_fault(oracle, &format!("its child does not respond: {error}"));
        }
        // The next owner may have the port as soon as its server is closed.
        oracle.disown(self.port);
        drop(connection);
        drop(self);
    }

    fn listen(&mut self, oracle: &Oracle) -> Server {
        let mut random = rand::rng();
        match self.lease.take() {
            Some(lease) if self.depth != Depth::Claimed && random.random_bool(INHERITED) => {
                child::leave_lease_to_child(&lease, self.granted)
            }
            Some(mut lease) if self.depth == Depth::Bound && random.random_bool(HAND_OVERS) => {
                let served = Served::start(&mut lease);
                self.lease = Some(lease);
                oracle.count(Figure::HandedOver);
                served.map_or_else(|error| self.lose(oracle, &error.to_string()), Server::Child)
            }
            Some(lease) if self.depth == Depth::Bound => match lease.into_listener() {
                Ok(listener) => serve(oracle, listener),
                Err(error) => self.lose(oracle, &error.to_string()),
            },
            lease => {
                self.lease = lease;
                self.bind_by_number(oracle)
            }
        }
    }

    /// Binds the port like a program that got its number.
    fn bind_by_number(&mut self, oracle: &Oracle) -> Server {
        let mut random = rand::rng();
        let stubborn = self.lease.as_mut().filter(|_| random.random_bool(STUBBORN));
        if let Some(lease) = stubborn.filter(|_| self.safety == Safety::Guarded) {
            self.safety = Safety::Number;
            oracle.unprotect(self.port);
            lease.let_go_of_guard();
        }
        let address: IpAddr =
            ["127.0.0.1", "0.0.0.0"].choose(&mut random).unwrap().parse().unwrap();
        let listener = match TcpListener::bind((address, self.port)) {
            Ok(listener) => listener,
            Err(error) => return self.lose(oracle, &error.to_string()),
        };
        // Two listeners would be two owners.
        if let Err(pid) = oracle.protect(self.port, Safety::Sealed) {
            let what = format!("port {} is listened on while process {pid} has it", self.port);
            report_fault(oracle, Figure::Duplicates, &what);
        }
        serve(oracle, listener)
    }

    fn lose(&self, oracle: &Oracle, error: &str) -> Server {
        match self.safety {
            Safety::Number => _ = oracle.count(Figure::ClaimedLost),
            Safety::Guarded if oracle.had_foreign(self.port, self.granted) => {
                oracle.count(Figure::GuardedLost);
            }
            _ => self.report_fault(oracle, error),
        }
        Server::Lost
    }

    fn report_fault(&self, oracle: &Oracle, error: &str) {
        let what = format!("port {} ({}): {error}", self.port, self.depth);
        report_fault(oracle, Figure::FailedListens, &what);
    }
}

/// Applies the fault of the behaviour to the lease.
fn keep(mut lease: PortLease, behaviour: Behaviour) -> Option<PortLease> {
    match behaviour {
        Behaviour::Honest | Behaviour::Isolated => {}
        Behaviour::Unguarded => lease.let_go_of_guard(),
        Behaviour::CheckThenBind => return None,
        Behaviour::Lapsed => {
            lease.leave_to_children();
            return None;
        }
    }
    Some(lease)
}

/// Sometimes serves a client, and closes the connection first, so that the port is in TIME-WAIT.
fn serve(oracle: &Oracle, listener: TcpListener) -> Server {
    oracle.count(Figure::Listened);
    if rand::rng().random_bool(CLIENTS) {
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(listener.accept().unwrap());
    }
    Server::Here(listener)
}

/// A random share of the time, more often a small one.
fn random_share_of(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random::<f64>().powi(3))
}
