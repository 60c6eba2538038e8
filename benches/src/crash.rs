//! How soon a watcher learns that a service and its wrapper were killed, next to the end of a lease in etcd.
//!
//! The TTL of the service is an hour, so only its session tells the registry. The lease in etcd has the shortest TTL that etcd
//! grants with its default settings, 2 s, and is kept alive every third of it, as etcd's own clients do. The moment of the kill
//! is spread evenly over that interval.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portolan_etcd::{EtcdEvent, KeyRange, Transaction, WatchItem};
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
/// The shortest TTL of a lease that etcd grants by default, in seconds.
const LEASE: i64 = 2;

/// Listens on a port until this process is killed.
pub fn listen(port: &str) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    listener.incoming().for_each(drop);
    Ok(())
}

/// Rows for a watcher of the server that holds the session, and for one of another server over the same store.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let etcd = Etcd::start()?;
    let leases = leases(&etcd)?;
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
    Ok(rows.into_iter().flat_map(|(who, times)| rows_of(who, times, &leases)).collect())
}

fn rows_of(who: &str, times: &[u32], leases: &[u32]) -> [Row; 2] {
    [("p50", 0.5, 5.0), ("p99", 0.99, 50.0)].map(|(name, share, goal)| {
        let millis = |times| Unit::Millis(f64::from(percentile(times, share)) / 1000.0);
        let what = format!("kill -9, seen by a watcher of {who} / lease of 2 s in etcd: {name}");
        let (measured, baseline) = (millis(times), millis(leases));
        let goal = Goal::AtMost(goal);
        Row { what, measured, baseline, compared: measured, goal, specified: "" }
    })
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
        times.push(u32::try_from(killed.elapsed().as_micros())?);
        at.wait_for("discovery_registry_sessions 0")?;
    }
    Ok(times)
}

/// Stops renewing leases, and returns the times from the last renewal to the deletion of the key, in microseconds.
fn leases(etcd: &Etcd) -> Result<Vec<u32>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = etcd.client()?;
        let mut watch = client.watch(&KeyRange::with_prefix("/crash/"), 1).await?;
        let mut killed = Vec::with_capacity(TRIALS);
        for number in 0..TRIALS {
            let lease = client.grant(LEASE).await?;
            ensure!(client.keep_alive(lease).await?, "no lease");
            let interval = Duration::from_secs(u64::try_from(LEASE)?) / 3;
            let share = f64::from(u32::try_from(number)?) / f64::from(u32::try_from(TRIALS)?);
            killed.push(Instant::now() + interval.mul_f64(share));
            let put = Transaction::default().put(format!("/crash/{number}"), vec![], Some(lease));
            client.transact(put).await?;
        }
        let mut times = Vec::with_capacity(TRIALS);
        while times.len() < TRIALS {
            let WatchItem::Batch(batch) = watch.next().await? else { continue };
            for event in batch.events {
                let EtcdEvent::Deleted(deleted) = event else { continue };
                let key = String::from_utf8(deleted.key)?;
                let number: usize = key.trim_start_matches("/crash/").parse()?;
                let time = Instant::now().saturating_duration_since(killed[number]);
                times.push(u32::try_from(time.as_micros())?);
            }
        }
        Ok(times)
    })
}

/// A service of `portolan run`.
struct Service {
    wrapper: Child,
    program: Pid,
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
        let id = wrapper.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let began = Instant::now();
        loop {
            let listed = std::fs::read_to_string(&children).unwrap_or_default();
            let first = listed.split_whitespace().next().and_then(|it| it.parse().ok());
            if let Some(program) = first.and_then(Pid::from_raw) {
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
