//! The lookups of a registry under attack from other addresses, compared with the same lookups without, and the memory of the
//! registry before, during and after each attack.
//!
//! The benchmark runs itself again in a network namespace of its own, in which the attackers have addresses that are not loopback:
//! loopback is exempt from the limits of clients. The attackers use a processor of the same machine.

mod attackers;

use std::io::{Write, stderr};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::flood::server::{Client, Server};
use crate::report::{Goal, Row, Unit};
use attackers::{Attacker, Held, Requests};

/// The environment variable that is set inside the namespace.
const INSIDE: &str = "PORTOLAN_BENCH_NAMESPACE";
/// The addresses of the namespace: the registry has the first one, and the attackers have the others.
const NETWORK: [u8; 3] = [10, 77, 0];
const ADDRESSES: u8 = 12;
const SERVICES: usize = 1000;
const ROUNDS: usize = 8;
/// The samples of a round, quiet and under attack.
const SAMPLES: usize = 4;
/// How long an attack may take to be in force, and the registry to recover from it.
const SETTLED: Duration = Duration::from_secs(60);
/// What is allowed to remain of the memory that an attack has cost.
const LEFT_MIB: f64 = 16.0;

type Start = fn(SocketAddr) -> Box<dyn Attacker>;

const ATTACKS: [(&str, Start); 4] = [
    ("flood of requests", |target| Box::new(Requests::flood(target))),
    ("guesses of tokens", |target| Box::new(Requests::guesses(target))),
    ("9,000 half-open connections", |target| Box::new(Held::half_open(target, 9_000))),
    ("readers that do not read", |target| Box::new(Held::unread(target, 400))),
];

/// The latencies of one round in nanoseconds.
struct Round {
    quiet: Vec<u32>,
    attacked: Vec<u32>,
}

/// What the attacker does.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Phase {
    Quiet,
    Attack,
    Ended,
}

/// Rows for each attack, inside the namespace; outside, the report is printed by the program inside.
pub(crate) fn rows() -> Result<Vec<Row>> {
    if std::env::var_os(INSIDE).is_none() {
        run_inside()?;
        return Ok(Vec::new());
    }
    attackers::raise_descriptor_limit()?;
    let mut rows = Vec::new();
    for (name, start) in ATTACKS {
        rows.extend(rows_of(name, start)?);
    }
    Ok(rows)
}

/// Runs this part of the benchmark in a namespace.
fn run_inside() -> Result<()> {
    let addresses: Vec<_> = (1..=ADDRESSES).map(address).collect();
    let add = addresses.iter().map(|it| format!("ip addr add {it}/32 dev lo && "));
    let script = format!("ip link set lo up && {}exec \"$@\"", add.collect::<String>());
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--", "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe()?)
        .arg("attack")
        .env(INSIDE, "1")
        .status()?;
    ensure!(status.success(), "the benchmark in the namespace failed: {status}");
    Ok(())
}

fn address(number: u8) -> IpAddr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, number).into()
}

fn rows_of(name: &str, start: Start) -> Result<Vec<Row>> {
    let server = Server::start_on(Ipv4Addr::UNSPECIFIED)?;
    let port = server.address.port();
    let mut client = Client::connect((Ipv4Addr::LOCALHOST, port).into())?;
    for number in 0..SERVICES {
        client.register(number)?;
    }
    client.sample()?;
    let before = server.memory_mib()?;
    let mut during = before;
    let (phase, in_force) = (AtomicU8::new(Phase::Quiet as u8), AtomicBool::new(false));
    let mut rounds = Vec::new();
    thread::scope(|threads| -> Result<()> {
        let attacker = start((address(1), port).into());
        let attacker = threads.spawn(|| attack(attacker, &phase, &in_force));
        let measured = (|| -> Result<()> {
            for _ in 0..ROUNDS {
                phase.store(Phase::Quiet as u8, Ordering::Relaxed);
                wait_until(|| Ok(!in_force.load(Ordering::Relaxed)))?;
                let quiet = samples(&mut client)?;
                phase.store(Phase::Attack as u8, Ordering::Relaxed);
                wait_until(|| Ok(in_force.load(Ordering::Relaxed)))?;
                rounds.push(Round { quiet, attacked: samples(&mut client)? });
                during = server.memory_mib()?.max(during);
            }
            Ok(())
        })();
        phase.store(Phase::Ended as u8, Ordering::Relaxed);
        attacker.join().map_err(|_| anyhow!("the attacker failed"))??;
        measured
    })?;
    // What is not returned by then is reported.
    let began = Instant::now();
    _ = wait_until(|| Ok(server.memory_mib()? < before + LEFT_MIB));
    let after = server.memory_mib()?;
    writeln!(stderr(), "{name}: {after:.1} MiB after {:.1?}", began.elapsed())?;
    let latency = |what: &str, share, goal| {
        let sides = rounds.iter().map(|round| [&round.attacked[..], &round.quiet[..]]);
        Row::latency(format!("{name}: lookup {what}"), share, sides, goal)
    };
    Ok(vec![
        latency("p50", 0.5, Goal::Unset),
        latency("p99", 0.99, Goal::AtMost(3.0)),
        memory(format!("{name}: memory during"), during, before, Goal::AtMost(256.0)),
        memory(format!("{name}: memory after"), after, before, Goal::AtMost(LEFT_MIB)),
    ])
}

fn samples(client: &mut Client) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for _ in 0..SAMPLES {
        all.extend(client.sample()?);
    }
    Ok(all)
}

/// Attacks whenever the phase says so, until it says that it ended.
fn attack(mut attacker: Box<dyn Attacker>, phase: &AtomicU8, in_force: &AtomicBool) -> Result<()> {
    const QUIET: u8 = Phase::Quiet as u8;
    const ATTACK: u8 = Phase::Attack as u8;
    loop {
        match phase.load(Ordering::Relaxed) {
            ATTACK => {
                let is_in_force = attacker.step()?;
                in_force.store(is_in_force, Ordering::Relaxed);
            }
            QUIET => {
                attacker.stop();
                in_force.store(false, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
            _ended => {
                attacker.stop();
                return Ok(());
            }
        }
    }
}

fn wait_until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !is_so()? {
        ensure!(began.elapsed() < SETTLED, "not within {SETTLED:?}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn memory(what: String, measured: f64, before: f64, goal: Goal) -> Row {
    Row {
        what,
        measured: Unit::Mebibytes(measured),
        baseline: Unit::Mebibytes(before),
        compared: Unit::Mebibytes(measured - before),
        goal,
        specified: "",
    }
}
