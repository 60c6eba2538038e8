//! Many processes that come and go, some of them killed, and a stranger among them: no port is ever
//! somebody else's too, and none is lost.
//!
//! Three environment variables make it as hard as one likes: `PORTOLAN_SOAK_PROCESSES`,
//! `PORTOLAN_SOAK_GRANTS`, and `PORTOLAN_SOAK_SECONDS` after which it ends in any case. What it did is
//! told on stderr (`--nocapture`).

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod ground;
#[path = "../support/mod.rs"]
mod support;
mod worker;

use std::env;
use std::fmt::Write;
use std::process::Child;
use std::time::{Duration, Instant};

use portolan_port_allocator::{Depth, PortAllocator, PortAllocatorConfig};
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use ground::{Figure, Ground};
use support::{World, wish};
use worker::command as copy;

const ROLE: &str = "PORTOLAN_SOAK_ROLE";
const CONFIG: &str = "PORTOLAN_SOAK_CONFIG";
const FOLDER: &str = "PORTOLAN_SOAK_FOLDER";
const PORT: &str = "PORTOLAN_SOAK_PORT";

/// How often somebody is killed, or stopped for a while.
const TICK: Duration = Duration::from_millis(20);
/// How long it may take until nothing is left of processes that ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much is to be done.
struct Task {
    role: &'static str,
    processes: usize,
    strangers: usize,
    grants: u64,
    time: Duration,
}

/// A soak under way.
struct Soak {
    world: World,
    ground: Ground,
    task: Task,
    owners: Vec<Child>,
    strangers: Vec<Child>,
    stopped: Option<usize>,
    kills: usize,
    stops: usize,
}

/// What a copy of this program does; nothing where this is the test run itself.
#[test]
fn part() {
    if let Ok(role) = env::var(ROLE) {
        worker::play(&role);
    }
}

#[test]
fn no_port_is_anybody_elses_too_and_none_is_lost() {
    let task = Task {
        role: "owner",
        processes: number("PORTOLAN_SOAK_PROCESSES", 48),
        strangers: 2,
        grants: number("PORTOLAN_SOAK_GRANTS", 20_000) as u64,
        time: Duration::from_secs(number("PORTOLAN_SOAK_SECONDS", 60) as u64),
    };
    let mut soak = Soak::start(task);
    let began = Instant::now();
    soak.go_on();
    soak.end();
    soak.tell(began.elapsed());
    for fault in [Figure::Duplicates, Figure::Thefts, Figure::FailedListens, Figure::Errors] {
        assert_eq!(soak.ground.figure(fault), 0, "{fault:?}");
    }
    assert!(soak.ground.figure(Figure::Grants) > 1000, "too few grants to show anything");
    soak.expect_nothing_left();
}

#[test]
fn a_soak_sees_where_ports_are_granted_twice() {
    let time = Duration::from_secs(60);
    let task = Task { role: "loner", processes: 8, strangers: 0, grants: 100_000, time };
    let mut soak = Soak::start(task);
    let deadline = Instant::now() + time;
    while soak.ground.figure(Figure::Duplicates) == 0 {
        assert!(
            Instant::now() < deadline,
            "eight allocators without a common table, and no duplicate"
        );
        std::thread::sleep(TICK);
    }
    soak.end();
}

fn number(variable: &str, usual: usize) -> usize {
    env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

// === impl Soak ===

impl Soak {
    fn start(task: Task) -> Self {
        // Fewer than the owners would hold at once, of two each.
        let ports = u16::try_from(task.processes * 8 / 5).unwrap();
        let world = World::with_many_ports(ports);
        let ground = Ground::open(world.folder.path());
        let (owners, strangers) = (Vec::new(), Vec::new());
        let mut soak =
            Self { world, ground, task, owners, strangers, stopped: None, kills: 0, stops: 0 };
        soak.owners = (0..soak.task.processes).map(|_| soak.begin(soak.task.role)).collect();
        soak.strangers = (0..soak.task.strangers).map(|_| soak.begin("stranger")).collect();
        soak
    }

    fn begin(&self, role: &str) -> Child {
        let config = serde_json::to_string(&self.world.config()).unwrap();
        copy(role).env(CONFIG, config).env(FOLDER, self.world.folder.path()).spawn().unwrap()
    }

    /// Kills one and stops another at a time, at moments that nobody chose.
    fn go_on(&mut self) {
        let deadline = Instant::now() + self.task.time;
        let mut random = rand::rng();
        while self.ground.figure(Figure::Grants) < self.task.grants && Instant::now() < deadline {
            std::thread::sleep(TICK.mul_f64(random.random()));
            let index = random.random_range(0..self.owners.len());
            if random.random_bool(0.3) {
                self.let_go_on();
                self.signal(index, Signal::STOP);
                self.stopped = Some(index);
                self.stops += 1;
            } else {
                self.let_go_on();
                let next = self.begin(self.task.role);
                let mut killed = std::mem::replace(&mut self.owners[index], next);
                killed.kill().unwrap();
                killed.wait().unwrap();
                self.kills += 1;
            }
        }
    }

    fn let_go_on(&mut self) {
        if let Some(index) = self.stopped.take() {
            self.signal(index, Signal::CONT);
        }
    }

    fn signal(&self, index: usize, signal: Signal) {
        // It may have ended itself before a child, and is then still there to be waited for.
        let pid = Pid::from_raw(self.owners[index].id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(&mut self) {
        self.let_go_on();
        self.ground.count(Figure::Stop);
        for mut process in self.owners.drain(..).chain(self.strangers.drain(..)) {
            process.wait().unwrap();
        }
    }

    fn tell(&self, time: Duration) {
        let figure = |figure| self.ground.figure(figure);
        let mut text = format!(
            "{} processes, {:.1} s, {} killed, {} stopped for a while",
            self.task.processes,
            time.as_secs_f64(),
            self.kills,
            self.stops
        );
        for (what, number) in [
            ("grants", figure(Figure::Grants)),
            ("refusals of a full pool", figure(Figure::Refusals)),
            ("listened on leased ports", figure(Figure::Listened)),
            ("leases inherited by a child", figure(Figure::Inherited)),
            ("tries of strangers", figure(Figure::StrangersTries)),
            ("ports that strangers got", figure(Figure::StrangersBinds)),
            ("mere reservations lost to strangers", figure(Figure::ReservedLost)),
            ("duplicates", figure(Figure::Duplicates)),
            ("thefts", figure(Figure::Thefts)),
            ("failed listens", figure(Figure::FailedListens)),
            ("errors", figure(Figure::Errors)),
        ] {
            _ = write!(text, "\n  {number:>9} {what}");
        }
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n"));
    }

    /// Heirs may take a moment to end; after that every port can be had.
    fn expect_nothing_left(&self) {
        let config = PortAllocatorConfig { sticky: false, ..self.world.config() };
        let allocator = PortAllocator::new(config).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !allocator.holders().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", allocator.holders());
            std::thread::sleep(TICK);
        }
        let take = |index| allocator.request(wish(&format!("after-{index}"), Depth::Guarded));
        let leases = (0..self.world.ports().len()).map(take).collect::<Result<Vec<_>, _>>();
        assert!(leases.is_ok(), "{leases:?}");
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        for process in self.owners.iter_mut().chain(&mut self.strangers) {
            _ = process.kill();
            _ = process.wait();
        }
    }
}
