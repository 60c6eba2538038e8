//! A soak under way: starts its processes, kills and stops them, and says what came of it.

use std::collections::VecDeque;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use portolan_port_allocator::{Depth, PortAllocator, PortAllocatorConfig, PortLimits};
use rand::RngExt;
use rand::seq::index::sample;
use rustix::process::{Pid, Signal, kill_process};

use crate::ground::{Figure, Ground};
use crate::support::{World, wish};
use crate::worker::{blame, first};

/// How often somebody is killed, or stopped for a while, at least.
const TICK: Duration = Duration::from_millis(40);
/// How many are killed at a time.
const AT_ONCE: RangeInclusive<usize> = 1..=4;
/// How many are stopped at a time, at most.
const STOPPED: usize = 8;
/// How long it may take until nothing is left of processes that ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who takes part.
pub(crate) struct Task {
    pub(crate) role: &'static str,
    pub(crate) processes: usize,
    pub(crate) strangers: usize,
}

pub(crate) struct Soak {
    pub(crate) ground: Ground,
    world: World,
    task: Task,
    owners: Vec<Child>,
    strangers: Vec<Child>,
    /// Killed, and perhaps not dead yet: on a busy machine that takes a while.
    dying: Vec<Child>,
    stopped: VecDeque<usize>,
    kills: usize,
    stops: usize,
}

// === impl Soak ===

impl Soak {
    pub(crate) fn start(world: World, task: Task) -> Self {
        let ground = Ground::open(world.folder.path());
        let mut soak = Self {
            ground,
            world,
            task,
            owners: Vec::new(),
            strangers: Vec::new(),
            dying: Vec::new(),
            stopped: VecDeque::new(),
            kills: 0,
            stops: 0,
        };
        soak.owners = (0..soak.task.processes).map(|_| soak.begin(soak.task.role)).collect();
        soak.strangers = (0..soak.task.strangers).map(|_| soak.begin("stranger")).collect();
        soak
    }

    fn begin(&self, role: &str) -> Child {
        first(role, &self.config(), self.world.folder.path()).spawn().unwrap()
    }

    /// The quota stays, because it must never be wrong; a rate would only slow the soak down.
    fn config(&self) -> PortAllocatorConfig {
        PortAllocatorConfig { rate_limit: PortLimits::new(0, 0), ..self.world.config() }
    }

    /// Kills and stops owners at moments that nobody chose, until enough is done or it is time.
    pub(crate) fn go_on(&mut self, deadline: Instant, is_enough: impl Fn(&Ground) -> bool) {
        let mut random = rand::rng();
        while !is_enough(&self.ground) && Instant::now() < deadline {
            thread::sleep(TICK.mul_f64(random.random()));
            let index = random.random_range(0..self.owners.len());
            match random.random_range(0..100) {
                0..25 => self.stop(index),
                25..50 => self.let_go_on(),
                50..55 => self.see_to_the_dead(),
                _ => self.kill(random.random_range(AT_ONCE)),
            }
        }
    }

    /// Kills some at the same time, so that what they leave is cleared away by others at the same time.
    fn kill(&mut self, count: usize) {
        let mut random = rand::rng();
        let killed = sample(&mut random, self.owners.len(), count.min(self.owners.len()));
        for index in killed.iter() {
            self.owners[index].kill().unwrap();
        }
        self.stopped.retain(|stopped| !killed.iter().any(|index| index == *stopped));
        self.kills += killed.len();
        killed.into_iter().for_each(|index| self.replace(index));
    }

    fn replace(&mut self, index: usize) {
        let next = self.begin(self.task.role);
        self.dying.push(std::mem::replace(&mut self.owners[index], next));
    }

    /// Puts others in the place of those who left their leases to heirs, and buries the dead.
    fn see_to_the_dead(&mut self) {
        for index in 0..self.owners.len() {
            if self.owners[index].try_wait().unwrap().is_some() {
                self.replace(index);
            }
        }
        let mut dying = std::mem::take(&mut self.dying);
        dying.retain_mut(|process| match process.try_wait().unwrap() {
            Some(end) => {
                self.see(end);
                false
            }
            None => true,
        });
        self.dying = dying;
    }

    fn stop(&mut self, index: usize) {
        if self.stopped.len() == STOPPED {
            self.let_go_on();
        }
        self.signal(index, Signal::STOP);
        self.stopped.push_back(index);
        self.stops += 1;
    }

    fn let_go_on(&mut self) {
        if let Some(index) = self.stopped.pop_front() {
            self.signal(index, Signal::CONT);
        }
    }

    fn signal(&self, index: usize, signal: Signal) {
        // It may have ended itself before a child, and is then still there to be waited for.
        let pid = Pid::from_raw(self.owners[index].id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn end(&mut self) {
        while !self.stopped.is_empty() {
            self.let_go_on();
        }
        self.ground.count(Figure::Stop);
        let all = [&mut self.owners, &mut self.strangers, &mut self.dying].map(std::mem::take);
        for mut process in all.into_iter().flatten() {
            self.see(process.wait().unwrap());
        }
    }

    /// A process that panicked did not do its part.
    fn see(&self, end: ExitStatus) {
        if !end.success() && end.signal() != Some(Signal::KILL.as_raw()) {
            blame(&self.ground, Figure::Errors, &format!("a process ended by itself: {end}"));
        }
    }

    pub(crate) fn tell(&self, time: Duration) {
        let Self { task: Task { processes, strangers, .. }, kills, stops, .. } = self;
        let seconds = time.as_secs_f64();
        let ports = self.world.ports().len();
        let mut text = format!(
            "{processes} processes and {strangers} strangers on {ports} ports, {seconds:.1} s, \
             {kills} killed, {stops} stopped for a while",
        );
        for (figure, what) in TOLD {
            _ = write!(text, "\n  {:>9} {what}", self.ground.figure(figure));
        }
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n"));
    }

    /// Heirs may take a moment to end; after that every port can be had.
    pub(crate) fn expect_nothing_left(&self) {
        let config = PortAllocatorConfig { sticky: false, ..self.config() };
        let allocator = PortAllocator::new(config).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !allocator.holders().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", allocator.holders());
            thread::sleep(TICK);
        }
        let take = |index| allocator.request(wish(&format!("after-{index}"), Depth::Claimed));
        let leases = (0..self.world.ports().len()).map(take).collect::<Result<Vec<_>, _>>();
        assert!(leases.is_ok(), "{leases:?}");
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        let all = [&mut self.owners, &mut self.strangers, &mut self.dying];
        for process in all.into_iter().flatten() {
            _ = process.kill();
            _ = process.wait();
        }
    }
}

const TOLD: [(Figure, &str); 15] = [
    (Figure::Grants, "grants"),
    (Figure::Refusals, "refusals of a full pool or range"),
    (Figure::Together, "granted together with others"),
    (Figure::Datagrams, "held in UDP as well"),
    (Figure::Listened, "listened on leased ports"),
    (Figure::HandedOver, "handed to a child that listens"),
    (Figure::Inherited, "leases inherited by a child"),
    (Figure::StrangersTries, "tries of strangers"),
    (Figure::StrangersBinds, "ports that strangers got"),
    (Figure::NumbersLost, "mere reservations lost to strangers"),
    (Figure::GuardedLost, "guarded ones lost to strangers with SO_REUSEADDR"),
    (Figure::Duplicates, "duplicates"),
    (Figure::Thefts, "thefts"),
    (Figure::FailedListens, "failed listens"),
    (Figure::Errors, "errors"),
];
