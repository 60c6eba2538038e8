//! A process that owns ports: many at once, each at another point of its life.

use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::PortRange;
use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortRequest,
};
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::flight::Flight;
use crate::ground::{Figure, Ground};
use crate::support::wish;
use crate::worker::{Manner, blame};

/// How many leases a process has at once, at most: each process another number.
const AT_ONCE: RangeInclusive<usize> = 4..=32;
/// How many grants a session lasts.
const SESSION: RangeInclusive<usize> = 1..=200;
/// How often services insist on a range, and how wide it is.
const NARROWED: f64 = 0.05;
const NARROW: RangeInclusive<u16> = 1..=12;
/// How long it sleeps at most: then it sees whether the soak ends.
const NAP: Duration = Duration::from_millis(50);
/// How long it waits at most before it asks again after it was refused a port.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for ports, uses them and gives them back, until the soak ends.
pub(crate) fn own(ground: &Ground, config: &PortAllocatorConfig, manner: Manner) {
    let mut owner = Owner {
        ground,
        config,
        manner,
        allocator: PortAllocator::new(config.clone()).unwrap(),
        grants_left: rand::rng().random_range(SESSION),
        at_once: rand::rng().random_range(AT_ONCE),
        flights: Vec::new(),
        asks_at: Instant::now(),
    };
    while !ground.is_over() {
        owner.go_on();
    }
    owner.flights.drain(..).for_each(|flight| flight.land(ground));
}

struct Owner<'a> {
    ground: &'a Ground,
    config: &'a PortAllocatorConfig,
    manner: Manner,
    allocator: PortAllocator,
    grants_left: usize,
    at_once: usize,
    flights: Vec<Flight>,
    /// It asks for no port before.
    asks_at: Instant,
}

// === impl Owner ===

impl Owner<'_> {
    /// Does what is due, else asks for a port, else sleeps.
    fn go_on(&mut self) {
        let now = Instant::now();
        let due = |index: &usize| self.flights[*index].due;
        let next = (0..self.flights.len()).min_by_key(due);
        match next.filter(|index| due(index) <= now) {
            Some(index) => {
                let flight = self.flights.swap_remove(index);
                self.flights.extend(flight.go_on(self.ground));
            }
            None if self.flights.len() < self.at_once && self.asks_at <= now => self.ask(),
            None => {
                let time = next.map_or(NAP, |index| due(&index).duration_since(now).min(NAP));
                thread::sleep(time);
            }
        }
    }

    fn ask(&mut self) {
        // A service that it holds already would get the same lease again.
        let is_free = |service: &usize| self.flights.iter().all(|it| it.service != *service);
        let service = (0..).find(is_free).unwrap();
        match self.request(&format!("service-{service}")) {
            Ok(leases) => self.begin(service, leases),
            Err(error) => {
                match error {
                    AllocatorError::NoPortsAvailable { .. } => {
                        self.ground.count(Figure::Refusals);
                    }
                    error => blame(self.ground, Figure::Errors, &error.to_string()),
                }
                self.asks_at = Instant::now() + PAUSE.mul_f64(rand::rng().random());
            }
        }
    }

    /// One port, or several or none.
    fn request(&self, service: &str) -> Result<Vec<PortLease>, AllocatorError> {
        let mut random = rand::rng();
        let range = random.random_bool(NARROWED).then(|| self.narrow_range());
        let request = |name: Option<usize>| {
            let request = any_wish(service);
            let request = range.into_iter().fold(request, PortRequest::range);
            let name = name.map(|name| format!("port-{name}").parse().unwrap());
            name.into_iter().fold(request, PortRequest::port_name)
        };
        if random.random_bool(0.9) {
            return Ok(vec![self.allocator.request(request(None))?]);
        }
        let count = random.random_range(2..=4);
        let leases = self.allocator.request_all((0..count).map(|name| request(Some(name))))?;
        leases.iter().for_each(|_| _ = self.ground.count(Figure::Together));
        Ok(leases)
    }

    /// Where others are likely to want ports too.
    fn narrow_range(&self) -> PortRange {
        let mut random = rand::rng();
        let whole = self.config.port_ranges.values().next().unwrap().range();
        let start = random.random_range(whole.start()..=whole.end());
        PortRange::new(start, whole.end().min(start + random.random_range(NARROW))).unwrap()
    }

    fn begin(&mut self, service: usize, leases: Vec<PortLease>) {
        self.grants_left = self.grants_left.saturating_sub(leases.len());
        let begin = |lease| Flight::begin(self.ground, service, lease, self.manner);
        self.flights.extend(leases.into_iter().map(begin));
        if self.grants_left == 0 || self.manner == Manner::Lapsed {
            self.allocator = PortAllocator::new(self.config.clone()).unwrap();
            self.grants_left = rand::rng().random_range(SESSION);
        }
    }
}

fn any_wish(service: &str) -> PortRequest {
    let mut random = rand::rng();
    let depth = *[Depth::Bound, Depth::Guarded, Depth::Claimed].choose(&mut random).unwrap();
    let address = *[BindAddress::Any, BindAddress::LOOPBACK].choose(&mut random).unwrap();
    wish(service, depth).address(address).udp(random.random_bool(0.2))
}
