//! A process that owns many ports, each at another point of its lifecycle.

use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::PortRange;
use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortRequest,
};
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::lifecycle::Lifecycle;
use crate::oracle::{Figure, Oracle};
use crate::support::request_for;
use crate::worker::{Behaviour, report_fault};

/// The largest number of leases of a process at a time, chosen at random.
const AT_ONCE: RangeInclusive<usize> = 4..=32;
/// The number of grants of a session.
const SESSION: RangeInclusive<usize> = 1..=200;
/// The probability that a request has a narrow range, and its width.
const NARROWED: f64 = 0.05;
const NARROW: RangeInclusive<u16> = 1..=12;
/// The longest sleep, after which it checks whether the soak has ended.
const NAP: Duration = Duration::from_millis(50);
/// The longest wait after a refused request.
const PAUSE: Duration = Duration::from_secs(1);

/// Requests ports, uses them and releases them, until the soak ends.
pub(crate) fn own(oracle: &Oracle, config: &PortAllocatorConfig, behaviour: Behaviour) {
    let mut owner = Owner {
        oracle,
        config,
        behaviour,
        allocator: PortAllocator::new(config.clone()).unwrap(),
        grants_left: rand::rng().random_range(SESSION),
        at_once: rand::rng().random_range(AT_ONCE),
        lifecycles: Vec::new(),
        next_request: Instant::now(),
    };
    while !oracle.has_ended() {
        owner.advance();
    }
    owner.lifecycles.drain(..).for_each(|lifecycle| lifecycle.release(oracle));
}

struct Owner<'a> {
    oracle: &'a Oracle,
    config: &'a PortAllocatorConfig,
    behaviour: Behaviour,
    allocator: PortAllocator,
    grants_left: usize,
    at_once: usize,
    lifecycles: Vec<Lifecycle>,
    /// When the next request may be made.
    next_request: Instant,
}

// === impl Owner ===

impl Owner<'_> {
    /// Takes the step that is due, else requests a port, else sleeps.
    fn advance(&mut self) {
        let now = Instant::now();
        let due = |index: &usize| self.lifecycles[*index].due;
        let next = (0..self.lifecycles.len()).min_by_key(due);
        match next.filter(|index| due(index) <= now) {
            Some(index) => {
                let lifecycle = self.lifecycles.swap_remove(index);
                self.lifecycles.extend(lifecycle.advance(self.oracle));
            }
            None if self.lifecycles.len() < self.at_once && self.next_request <= now => {
                self.request_port();
            }
            None => {
                let time = next.map_or(NAP, |index| due(&index).duration_since(now).min(NAP));
                thread::sleep(time);
            }
        }
    }

    fn request_port(&mut self) {
        // A service that holds a lease would get the same one again.
        let is_free = |service: &usize| self.lifecycles.iter().all(|it| it.service != *service);
        let service = (0..).find(is_free).unwrap();
        match self.request(&format!("service-{service}")) {
            Ok(leases) => self.begin(service, leases),
            Err(error) => {
                match error {
                    AllocatorError::NoPortsAvailable { .. } => {
                        self.oracle.count(Figure::Refusals);
                    }
                    error => report_fault(self.oracle, Figure::Errors, &error.to_string()),
                }
                self.next_request = Instant::now() + PAUSE.mul_f64(rand::rng().random());
            }
        }
    }

    /// Requests one port, or several at once.
    fn request(&self, service: &str) -> Result<Vec<PortLease>, AllocatorError> {
        let mut random = rand::rng();
        let range = random.random_bool(NARROWED).then(|| self.narrow_range());
        let request = |name: Option<usize>| {
            let request = any_request(service);
            let request = range.into_iter().fold(request, PortRequest::range);
            let name = name.map(|name| format!("port-{name}").parse().unwrap());
            name.into_iter().fold(request, PortRequest::port_name)
        };
        if random.random_bool(0.9) {
            return Ok(vec![self.allocator.request(request(None))?]);
        }
        let count = random.random_range(2..=4);
        let leases = self.allocator.request_all((0..count).map(|name| request(Some(name))))?;
        leases.iter().for_each(|_| _ = self.oracle.count(Figure::Together));
        Ok(leases)
    }

    /// A range in which other owners request ports too.
    fn narrow_range(&self) -> PortRange {
        let mut random = rand::rng();
        let whole = self.config.port_ranges.values().next().unwrap().range();
        let start = random.random_range(whole.start()..=whole.end());
        PortRange::new(start, whole.end().min(start + random.random_range(NARROW))).unwrap()
    }

    fn begin(&mut self, service: usize, leases: Vec<PortLease>) {
        self.grants_left = self.grants_left.saturating_sub(leases.len());
        let begin = |lease| Lifecycle::begin(self.oracle, service, lease, self.behaviour);
        self.lifecycles.extend(leases.into_iter().map(begin));
        if self.grants_left == 0 || self.behaviour == Behaviour::Lapsed {
            self.allocator = PortAllocator::new(self.config.clone()).unwrap();
            self.grants_left = rand::rng().random_range(SESSION);
        }
    }
}

fn any_request(service: &str) -> PortRequest {
    let mut random = rand::rng();
    let depth = *[Depth::Bound, Depth::Guarded, Depth::Claimed].choose(&mut random).unwrap();
    let address = *[BindAddress::Any, BindAddress::LOOPBACK].choose(&mut random).unwrap();
    request_for(service, depth).address(address).udp(random.random_bool(0.2))
}
