//! How soon a watcher learns that a service and its wrapper were killed, next to the end of a lease in etcd and of a check by
//! TTL in Consul.
//!
//! The TTL of the service is an hour, so only its session tells the registry. The lease in etcd has the shortest TTL that etcd
//! grants with its default settings, 2 s, and the check in Consul has the same. Both are renewed every third of it, as etcd's own
//! clients do. The moment of the kill is spread evenly over that interval.

mod consul;
mod leases;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench_env::BenchEnv;
use crate::flood::server::TOKEN;
use crate::registry::etcd::server::Etcd;
use crate::report::{Goal, Row, Unit};
use crate::served::{ServedRegistry, WITHIN, portolan};
use crate::statistics::percentile;

/// The argument that makes this program listen on the port that follows it, until it is killed.
pub const LISTEN: &str = "listen";

const TRIALS: usize = 100;
/// The TTL in etcd, the shortest of a lease that it grants by default, and in Consul.
const TTL: Duration = Duration::from_secs(2);

/// Listens on a port until this process is killed.
pub fn listen(port: &str) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    listener.incoming().for_each(drop);
    Ok(())
}

/// Rows for a watcher of the server that holds the session, and for one of another server over the same store.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let etcd = Etcd::start()?;
    let baselines = Baselines { leases: leases::ends(&etcd)?, checks: consul::ends()? };
    let changes = leases::changes(&etcd)?;
    let env = BenchEnv::new()?;
    let alone = ServedRegistry::start(&env, &[])?;
    let here = kills(&env, &alone, &alone)?;
    let store = [
        "service_registry.storage_backend=etcd".to_owned(),
        format!("service_registry.etcd.endpoints=[\"{}\"]", etcd.url()),
    ];
    let (first, second) =
        (ServedRegistry::start(&env, &store)?, ServedRegistry::start(&env, &store)?);
    let there = kills(&env, &first, &second)?;
    let rows = [("the server", &here), ("another server over etcd", &there)];
    let of_kills = rows.into_iter().flat_map(|(who, times)| baselines.rows(who, times));
    Ok(of_kills.chain(share_of_etcd(&there, &changes)).collect())
}

/// What the same takes elsewhere, in microseconds.
struct Baselines {
    leases: Vec<u32>,
    checks: Vec<u32>,
}

// === impl Baselines ===

impl Baselines {
    fn rows(&self, who: &str, times: &[u32]) -> Vec<Row> {
        let beside =
            [("lease of 2 s in etcd", &self.leases), ("check of 2 s in Consul", &self.checks)];
        let row = |(name, share, goal), (other, baseline): (&str, &Vec<u32>)| Row {
            what: format!("kill -9, seen by a watcher of {who} / {other}: {name}"),
            measured: millis(times, share),
            baseline: millis(baseline, share),
            compared: millis(times, share),
            goal: Goal::AtMost(goal),
            specified: "",
        };
        let shares = [("p50", 0.5, 5.0), ("p99", 0.99, 50.0)];
        shares.into_iter().flat_map(|share| beside.map(|other| row(share, other))).collect()
    }
}

/// How much of the time over etcd is etcd's own: a bare client deletes a key, and another one watches it.
fn share_of_etcd(there: &[u32], changes: &[u32]) -> [Row; 2] {
    [("p50", 0.5), ("p99", 0.99)].map(|(name, share)| Row {
        what: format!(
            "kill -9, seen over etcd / a change that two bare clients of etcd make and see: {name}"
        ),
        measured: millis(there, share),
        baseline: millis(changes, share),
        compared: Unit::Times(
            f64::from(percentile(there, share)) / f64::from(percentile(changes, share)),
        ),
        goal: Goal::Unset,
        specified: "",
    })
}

fn millis(times: &[u32], share: f64) -> Unit {
    Unit::Millis(f64::from(percentile(times, share)) / 1000.0)
}

/// Returns when the last renewal of a trial may be thought of: from now until a third of the TTL from now.
fn killed(trial: usize) -> Result<Instant> {
    let share = f64::from(u32::try_from(trial)?) / f64::from(u32::try_from(TRIALS)?);
    Ok(Instant::now() + (TTL / 3).mul_f64(share))
}

fn micros_since(killed: Instant) -> Result<u32> {
    Ok(u32::try_from(Instant::now().saturating_duration_since(killed).as_micros())?)
}

/// Kills services registered at one server, and returns when a watcher of the other one saw it, in microseconds.
fn kills(env: &BenchEnv, at: &ServedRegistry, seen_at: &ServedRegistry) -> Result<Vec<u32>> {
    let mut watch = Watch::open(seen_at.address)?;
    let mut times = Vec::with_capacity(TRIALS);
    for _ in 0..TRIALS {
        let service = Service::start(env, at)?;
        watch.wait_for("registered")?;
        at.wait_for("discovery_registry_sessions 1")?;
        let killed = Instant::now();
        service.kill()?;
        watch.wait_for("deregistered")?;
        times.push(micros_since(killed)?);
        at.wait_for("discovery_registry_sessions 0")?;
    }
    Ok(times)
}

/// A service of `portolan run`.
struct Service {
    wrapper: Child,
    program: Pid,
}

/// Returns the program below a wrapper, once it has been executed: the process that [`LISTEN`] names. Between them is the shim.
fn listener_below(process: u32) -> Option<Pid> {
    let children =
        std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().find_map(|child| {
        let child: i32 = child.parse().ok()?;
        let command = std::fs::read(format!("/proc/{child}/cmdline")).ok()?;
        match command.split(|byte| *byte == 0).nth(1) {
            Some(first) if first == LISTEN.as_bytes() => Pid::from_raw(child),
            _ => listener_below(child.try_into().ok()?),
        }
    })
}

/// A watch of the service.
struct Watch(BufReader<TcpStream>);

// === impl Service ===

impl Service {
    fn start(env: &BenchEnv, registry: &ServedRegistry) -> Result<Self> {
        let own = std::env::current_exe()?;
        let url = format!("http://{}", registry.address);
        let mut run = portolan(env.directory())?;
        run.args(["run", "--name", "api", "--ttl", "1h", "--registry", &url, "--"]);
        let mut wrapper = run.arg(own).args([LISTEN, "{port}"]).spawn()?;
        let began = Instant::now();
        loop {
            if let Some(program) = listener_below(wrapper.id()) {
                return Ok(Self { wrapper, program });
            }
            ensure!(wrapper.try_wait()?.is_none(), "`portolan run` has ended");
            ensure!(began.elapsed() < WITHIN, "no program");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the wrapper first, which is the harder case: its session ends while the program still listens.
    fn kill(mut self) -> Result<()> {
        self.wrapper.kill()?;
        kill_process(self.program, Signal::KILL)?;
        self.wrapper.wait()?;
        Ok(())
    }
}

// === impl Watch ===

impl Watch {
    fn open(address: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(WITHIN))?;
        let request = format!(
            "GET /api/v1/watch?name=api HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        Ok(Self(BufReader::new(stream)))
    }

    fn wait_for(&mut self, kind: &str) -> Result<()> {
        let wanted = format!("event: {kind}");
        let (began, mut line) = (Instant::now(), String::new());
        while line.trim() != wanted {
            line.clear();
            let read = self.0.read_line(&mut line).with_context(|| format!("no event {kind}"))?;
            ensure!(began.elapsed() < WITHIN, "no event {kind}");
            ensure!(read > 0, "the watch ended before an event {kind}");
        }
        Ok(())
    }
}
