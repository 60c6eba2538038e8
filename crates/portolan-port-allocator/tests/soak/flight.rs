//! A lease and what becomes of it: granted, after a while listened on, after another given back.

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use portolan_port_allocator::{Depth, PortLease};
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::child::{self, Served};
use crate::ground::{Figure, Ground, Safety};
use crate::worker::{Manner, blame};

/// How long a program takes, at most, until it binds the port that it was given; and goes on then.
const DELAY: Duration = Duration::from_secs(2);
const HOLD: Duration = Duration::from_secs(1);

/// How often an owner dies and leaves the lease to a child; and hands its socket to one.
const HEIRS: f64 = 0.0005;
const HAND_OVERS: f64 = 0.005;
/// How often a guard has to go before its program starts.
const STUBBORN: f64 = 0.05;
/// How often a server has a client.
const CLIENTS: f64 = 0.001;

pub(crate) struct Flight {
    pub(crate) service: usize,
    /// When it is to go on.
    pub(crate) due: Instant,
    port: u16,
    depth: Depth,
    safety: Safety,
    granted: u64,
    // In this order: a server ends before its lease.
    server: Option<Server>,
    _datagrams: Option<UdpSocket>,
    lease: Option<PortLease>,
}

/// Who serves on the port.
enum Server {
    /// A stranger was faster.
    Lost,
    Here(#[allow(dead_code, reason = "it only has to be open")] TcpListener),
    Child(Served),
}

// === impl Flight ===

impl Flight {
    pub(crate) fn begin(ground: &Ground, service: usize, lease: PortLease, manner: Manner) -> Self {
        ground.count(Figure::Grants);
        let (port, depth) = (lease.port(), lease.depth());
        let safety = match depth {
            Depth::Bound => Safety::Sealed,
            Depth::Guarded => Safety::Guarded,
            Depth::Claimed => Safety::Number,
        };
        let datagrams = lease.udp_socket().unwrap();
        let owned = ground.own(port, safety).and_then(|()| match datagrams {
            Some(_) => ground.protect_datagrams(port),
            None => Ok(()),
        });
        if let Err(pid) = owned {
            let what = format!("port {port} ({depth}) was granted while process {pid} has it");
            blame(ground, Figure::Duplicates, &what);
        }
        if datagrams.is_some() {
            ground.count(Figure::Datagrams);
        }
        let (due, granted) = (Instant::now() + some_of(DELAY), ground.moment());
        let (server, lease) = (None, keep(lease, manner));
        Self { service, due, port, depth, safety, granted, server, _datagrams: datagrams, lease }
    }

    /// Takes the next step; none is left after the last.
    pub(crate) fn go_on(mut self, ground: &Ground) -> Option<Self> {
        if self.server.is_some() {
            self.land(ground);
            return None;
        }
        let server = self.listen(ground);
        self.server = Some(server);
        self.due = Instant::now() + some_of(HOLD);
        Some(self)
    }

    /// Gives the port back.
    pub(crate) fn land(self, ground: &Ground) {
        let connection = match &self.server {
            Some(Server::Child(served)) => served.connect(self.port),
            _ => Ok(None),
        };
        if let Err(error) = &connection {
            self.blame(ground, &format!("its child does not answer: {error}"));
        }
        // Whoever has it next may have it as soon as its server is gone.
        ground.disown(self.port);
        drop(connection);
        drop(self);
    }

    fn listen(&mut self, ground: &Ground) -> Server {
        let mut random = rand::rng();
        match self.lease.take() {
            Some(lease) if self.depth != Depth::Claimed && random.random_bool(HEIRS) => {
                child::die_before_an_heir(&lease, self.granted)
            }
            Some(mut lease) if self.depth == Depth::Bound && random.random_bool(HAND_OVERS) => {
                let served = Served::start(&mut lease);
                self.lease = Some(lease);
                ground.count(Figure::HandedOver);
                served.map_or_else(|error| self.lose(ground, &error.to_string()), Server::Child)
            }
            Some(lease) if self.depth == Depth::Bound => match lease.into_listener() {
                Ok(listener) => serve(ground, listener),
                Err(error) => self.lose(ground, &error.to_string()),
            },
            lease => {
                self.lease = lease;
                self.bind_by_number(ground)
            }
        }
    }

    /// As the program does that was told the port.
    fn bind_by_number(&mut self, ground: &Ground) -> Server {
        let mut random = rand::rng();
        let stubborn = self.lease.as_mut().filter(|_| random.random_bool(STUBBORN));
        if let Some(lease) = stubborn.filter(|_| self.safety == Safety::Guarded) {
            self.safety = Safety::Number;
            ground.unprotect(self.port);
            lease.let_go_of_guard();
        }
        let address: IpAddr =
            ["127.0.0.1", "0.0.0.0"].choose(&mut random).unwrap().parse().unwrap();
        let listener = match TcpListener::bind((address, self.port)) {
            Ok(listener) => listener,
            Err(error) => return self.lose(ground, &error.to_string()),
        };
        // Two that listen on it would be two owners.
        if let Err(pid) = ground.protect(self.port, Safety::Sealed) {
            let what = format!("port {} is listened on while process {pid} has it", self.port);
            blame(ground, Figure::Duplicates, &what);
        }
        serve(ground, listener)
    }

    fn lose(&self, ground: &Ground, error: &str) -> Server {
        match self.safety {
            Safety::Number => _ = ground.count(Figure::NumbersLost),
            Safety::Guarded if ground.had_stranger(self.port, self.granted) => {
                ground.count(Figure::GuardedLost);
            }
            _ => self.blame(ground, error),
        }
        Server::Lost
    }

    fn blame(&self, ground: &Ground, error: &str) {
        let what = format!("port {} ({}): {error}", self.port, self.depth);
        blame(ground, Figure::FailedListens, &what);
    }
}

/// What its owner has of a lease from now on.
fn keep(mut lease: PortLease, manner: Manner) -> Option<PortLease> {
    match manner {
        Manner::Honest | Manner::Lonely => {}
        Manner::Unguarded => lease.let_go_of_guard(),
        Manner::Hasty => return None,
        Manner::Lapsed => {
            lease.leave_to_children();
            return None;
        }
    }
    Some(lease)
}

/// Serves a client now and then, and closes the connection first, so that it stays on the port.
fn serve(ground: &Ground, listener: TcpListener) -> Server {
    ground.count(Figure::Listened);
    if rand::rng().random_bool(CLIENTS) {
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(listener.accept().unwrap());
    }
    Server::Here(listener)
}

/// Any part of the time, and rather a small one.
fn some_of(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random::<f64>().powi(3))
}
