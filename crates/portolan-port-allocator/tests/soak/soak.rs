//! A running soak: starts processes, kills and stops them, and checks the result.

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

use crate::oracle::{Figure, Oracle};
use crate::support::{TestEnv, request_for};
use crate::worker::{first, report_fault};

/// The longest time between two kills or stops.
const TICK: Duration = Duration::from_millis(40);
/// The number of owners that are killed at a time.
const AT_ONCE: RangeInclusive<usize> = 1..=4;
/// The largest number of owners that are stopped at a time.
const STOPPED: usize = 8;
/// How long leases may last after their processes ended.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The processes of a soak.
pub(crate) struct Task {
    pub(crate) role: &'static str,
    pub(crate) processes: usize,
    pub(crate) foreign: usize,
}

pub(crate) struct Soak {
    pub(crate) oracle: Oracle,
    env: TestEnv,
    task: Task,
    owners: Vec<Child>,
    foreign: Vec<Child>,
    /// Killed, but not yet waited for.
    dying: Vec<Child>,
    stopped: VecDeque<usize>,
    kills: usize,
    stops: usize,
}

// === impl Soak ===

impl Soak {
    pub(crate) fn start(env: TestEnv, task: Task) -> Self {
        let oracle = Oracle::open(env.folder.path());
        let mut soak = Self {
            oracle,
            env,
            task,
            owners: Vec::new(),
            foreign: Vec::new(),
            dying: Vec::new(),
            stopped: VecDeque::new(),
            kills: 0,
            stops: 0,
        };
        soak.owners = (0..soak.task.processes).map(|_| soak.begin(soak.task.role)).collect();
        soak.foreign = (0..soak.task.foreign).map(|_| soak.begin("foreign")).collect();
        soak
    }

    fn begin(&self, role: &str) -> Child {
        first(role, &self.config(), self.env.folder.path()).spawn().unwrap()
    }

    /// With quotas, which must never be wrong, and without rate limits, which would slow the soak down.
    fn config(&self) -> PortAllocatorConfig {
        PortAllocatorConfig { rate_limit: PortLimits::new(0, 0), ..self.env.config() }
    }

    /// Kills and stops owners at random times until the soak has done enough or the deadline.
    pub(crate) fn advance(&mut self, deadline: Instant, is_enough: impl Fn(&Oracle) -> bool) {
        let mut random = rand::rng();
        while !is_enough(&self.oracle) && Instant::now() < deadline {
            thread::sleep(TICK.mul_f64(random.random()));
            let index = random.random_range(0..self.owners.len());
            match random.random_range(0..100) {
                0..25 => self.stop(index),
                25..50 => self.resume(),
                50..55 => self.replace_ended(),
                _ => self.kill(random.random_range(AT_ONCE)),
            }
        }
    }

    /// Kills several owners at once, so that their leases are reclaimed concurrently.
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

    /// Replaces owners that left their leases to children, and waits for killed ones.
    fn replace_ended(&mut self) {
        for index in 0..self.owners.len() {
            if self.owners[index].try_wait().unwrap().is_some() {
                self.replace(index);
            }
        }
        let mut dying = std::mem::take(&mut self.dying);
        dying.retain_mut(|process| match process.try_wait().unwrap() {
            Some(end) => {
                self.check_exit(end);
                false
            }
            None => true,
        });
        self.dying = dying;
    }

    fn stop(&mut self, index: usize) {
        if self.stopped.len() == STOPPED {
            self.resume();
        }
        self.signal(index, Signal::STOP);
        self.stopped.push_back(index);
        self.stops += 1;
    }

    fn resume(&mut self) {
        if let Some(index) = self.stopped.pop_front() {
            self.signal(index, Signal::CONT);
        }
    }

    fn signal(&self, index: usize, signal: Signal) {
        // It may have ended, but was not waited for, so its id is still valid.
        let pid = Pid::from_raw(self.owners[index].id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn end(&mut self) {
        while !self.stopped.is_empty() {
            self.resume();
        }
        self.oracle.count(Figure::Stop);
        let all = [&mut self.owners, &mut self.foreign, &mut self.dying].map(std::mem::take);
        for mut process in all.into_iter().flatten() {
            self.check_exit(process.wait().unwrap());
        }
    }

    /// Reports a process that failed.
    fn check_exit(&self, end: ExitStatus) {
        if !end.success() && end.signal() != Some(Signal::KILL.as_raw()) {
            report_fault(
                &self.oracle,
                Figure::Errors,
                &format!("a process ended by itself: {end}"),
            );
        }
    }

    pub(crate) fn print_summary(&self, time: Duration) {
        let Self { task: Task { processes, foreign, .. }, kills, stops, .. } = self;
        let seconds = time.as_secs_f64();
        let ports = self.env.ports().len();
        let mut text = format!(
            "{processes} processes and {foreign} foreign processes on {ports} ports, {seconds:.1} s, \
             {kills} killed, {stops} stopped for a while",
        );
        for (figure, what) in SUMMARY {
            _ = write!(text, "\n  {:>9} {what}", self.oracle.figure(figure));
        }
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n"));
    }

    /// Asserts that every port can be leased once inheriting children have ended.
    pub(crate) fn expect_nothing_left(&self) {
        let config = PortAllocatorConfig { sticky: false, ..self.config() };
        let allocator = PortAllocator::new(config).unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while !allocator.holders().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", allocator.holders());
            thread::sleep(TICK);
        }
        let take =
            |index| allocator.request(request_for(&format!("after-{index}"), Depth::Claimed));
        let leases = (0..self.env.ports().len()).map(take).collect::<Result<Vec<_>, _>>();
        assert!(leases.is_ok(), "{leases:?}");
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        let all = [&mut self.owners, &mut self.foreign, &mut self.dying];
        for process in all.into_iter().flatten() {
            _ = process.kill();
            _ = process.wait();
        }
    }
}

const SUMMARY: [(Figure, &str); 15] = [
    (Figure::Grants, "grants"),
    (Figure::Refusals, "refusals of a full pool or range"),
    (Figure::Together, "granted together with others"),
    (Figure::Datagrams, "held in UDP as well"),
    (Figure::Listened, "listened on leased ports"),
    (Figure::HandedOver, "passed to a child that listens"),
    (Figure::Inherited, "leases inherited by a child"),
    (Figure::ForeignAttempts, "attempts of foreign processes"),
    (Figure::ForeignBinds, "ports bound by foreign processes"),
    (Figure::ClaimedLost, "claimed ports lost to foreign processes"),
    (Figure::GuardedLost, "guarded ports lost to foreign processes with SO_REUSEADDR"),
    (Figure::Duplicates, "duplicates"),
    (Figure::Takeovers, "takeovers"),
    (Figure::FailedListens, "failed listens"),
    (Figure::Errors, "errors"),
];
