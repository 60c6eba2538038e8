//! A registry with very many endpoints in etcd: its start, its memory, its lookups, and what heartbeats write.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portolan_core::{Registration, Ttl};
use portolan_etcd::KeyRange;
use portolan_registry::{Command, Query, Registry, RegistryConfig};
use tokio::task::JoinSet;

use super::server::Etcd;
use crate::bench_env::BenchEnv;
use crate::flood::server::Client;
use crate::registry::{BenchRegistry, registration, runtime};
use crate::report::{Goal, Row, Unit};
use crate::statistics::median;

const ENDPOINTS: usize = 100_000;
const STARTS: usize = 5;
/// The services that send heartbeats, and their TTL.
const SERVICES: usize = 10_000;
const TTL: Duration = Duration::from_secs(60);
/// The interval of heartbeats: that of an agent, a third of the TTL.
const HEARTBEATS: Duration = Duration::from_secs(20);
/// For how many intervals heartbeats are sent.
const INTERVALS: usize = 2;
/// How many batches are registered at the same time.
const WRITERS: usize = 8;
const LOOKUPS: usize = 20_000;
const ROUNDS: usize = 15;
const PREFIX: &str = "/portolan";

/// A row for each figure.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let (etcd, runtime) = (Etcd::start()?, runtime()?);
    let config = etcd.config(PREFIX, ENDPOINTS);
    runtime.block_on(fill(&config))?;
    let mut rows = starts(&etcd, &runtime)?;
    rows.extend(runtime.block_on(async {
        let over_etcd = ready(&config).await?;
        let lookups = lookups(&over_etcd.registry).await?;
        let heartbeats = heartbeats(&etcd, &over_etcd.registry).await?;
        over_etcd.close().await?;
        anyhow::Ok([lookups, heartbeats])
    })?);
    Ok(rows)
}

async fn ready(config: &RegistryConfig) -> Result<BenchRegistry> {
    let opened = BenchRegistry::open(config)?;
    while !opened.registry.is_ready() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(opened)
}

/// Registers all endpoints.
async fn fill(config: &RegistryConfig) -> Result<()> {
    let opened = ready(config).await?;
    register(&opened.registry, ENDPOINTS, Ttl::MAX).await?;
    opened.close().await
}

/// Registers the first endpoints with this TTL.
async fn register(registry: &Registry, count: usize, ttl: Duration) -> Result<()> {
    let ttl = Some(Ttl::new(ttl)?);
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let registry = registry.clone();
        tasks.spawn(async move {
            let numbers: Vec<_> = (writer..count).step_by(WRITERS).collect();
            for numbers in numbers.chunks(250) {
                let command = |number: &usize| {
                    Ok(Command::Register(Registration { ttl, ..registration(*number)? }))
                };
                let commands = numbers.iter().map(command).collect::<Result<_>>()?;
                BenchRegistry::apply(&registry, commands).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

// --- the start

/// Starts `portolan serve` next to a bare client that reads the same keys.
fn starts(etcd: &Etcd, runtime: &tokio::runtime::Runtime) -> Result<Vec<Row>> {
    let (mut started, mut read, mut resident, mut size) = (vec![], vec![], vec![], 0);
    for _ in 0..STARTS {
        let began = Instant::now();
        size = runtime.block_on(read_all(etcd))?;
        read.push(began.elapsed().as_secs_f64() * 1e3);
        let server = Server::start(etcd)?;
        started.push(server.ready);
        resident.push(server.resident()?);
    }
    let (ready, read) = (median(started), median(read));
    let (resident, size) = (median(resident), size as f64 / f64::from(1 << 20));
    Ok(vec![
        Row {
            what: format!("start with {ENDPOINTS} endpoints in etcd / reading them"),
            measured: Unit::Millis(ready),
            baseline: Unit::Millis(read),
            compared: Unit::Times(ready / read),
            goal: Goal::Unset,
            specified: "",
        },
        Row {
            what: format!("resident memory with {ENDPOINTS} endpoints / their keys and values"),
            measured: Unit::Mebibytes(resident),
            baseline: Unit::Mebibytes(size),
            compared: Unit::Times(resident / size),
            goal: Goal::Unset,
            specified: "",
        },
    ])
}

/// Reads all endpoints in pages; returns the size of their keys and values.
async fn read_all(etcd: &Etcd) -> Result<usize> {
    let client = etcd.client()?;
    let mut rest = KeyRange::with_prefix(&format!("{PREFIX}/v1/endpoints/"));
    let (mut size, mut revision) = (0, 0);
    loop {
        let page = client.range(&rest, 4096, revision).await?;
        revision = page.revision.max(revision);
        size += page.keys.iter().map(|kv| kv.key.len() + kv.value.len()).sum::<usize>();
        match page.keys.last() {
            Some(last) if page.more => rest = rest.after(&last.key),
            _ => return Ok(size),
        }
    }
}

/// A registry server in a process of its own.
struct Server {
    child: Child,
    /// The milliseconds from its start until it was ready.
    ready: f64,
    _env: BenchEnv,
}

// === impl Server ===

impl Server {
    fn start(etcd: &Etcd) -> Result<Self> {
        let env = BenchEnv::new()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let settings = [
            "service_registry.storage_backend=etcd".to_owned(),
            format!("service_registry.etcd.endpoints=[\"{}\"]", etcd.url()),
            "broadcast.enabled=false".to_owned(),
        ];
        let program = std::env::current_exe()?.with_file_name("portolan");
        let mut serve = Process::new(program);
        serve.args(["serve", "--listen", &address.to_string()]);
        serve.args(settings.iter().flat_map(|setting| ["--set", setting]));
        serve.current_dir(env.directory()).env("HOME", env.directory());
        let began = Instant::now();
        let child = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.context("portolan cannot be started; build portolan-cli first")?;
        let mut server = Self { child, ready: 0.0, _env: env };
        let is_ready = || Client::connect(address)?.request("GET /readyz", "");
        while is_ready().is_err() {
            ensure!(began.elapsed() < Duration::from_secs(60), "the server is not ready");
            std::thread::sleep(Duration::from_millis(2));
        }
        server.ready = began.elapsed().as_secs_f64() * 1e3;
        Ok(server)
    }

    /// Its resident memory in MiB.
    fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
        Ok(kib.trim().parse::<f64>()? / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

// --- lookups and heartbeats

/// Lookups by name, next to the same ones over the store `memory` with the same endpoints.
async fn lookups(over_etcd: &Registry) -> Result<Row> {
    let config = RegistryConfig { max_endpoints: ENDPOINTS, ..RegistryConfig::default() };
    let in_memory = ready(&config).await?;
    register(&in_memory.registry, ENDPOINTS, Ttl::MAX).await?;
    let (mut etcd, mut memory, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let (a, b) = (look_up(over_etcd)?, look_up(&in_memory.registry)?);
        etcd.push(a);
        memory.push(b);
        ratios.push(a / b);
    }
    in_memory.close().await?;
    Ok(Row {
        what: format!("lookup of 100 of {ENDPOINTS} endpoints, over etcd / in memory"),
        measured: Unit::Micros(median(etcd)),
        baseline: Unit::Micros(median(memory)),
        compared: Unit::Times(median(ratios)),
        goal: Goal::AtMost(1.1),
        specified: "",
    })
}

/// The microseconds of a lookup.
fn look_up(registry: &Registry) -> Result<f64> {
    let names = (0..1000).map(|name| Ok(Query::for_service(format!("service-{name}").parse()?)));
    let queries = names.collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    for query in queries.iter().cycle().take(LOOKUPS) {
        let (found, _) = black_box(registry.lookup(query));
        ensure!(found.len() == ENDPOINTS / 1000, "{} found", found.len());
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64)
}

/// What the heartbeats of the services write in etcd, next to the heartbeats.
async fn heartbeats(etcd: &Etcd, registry: &Registry) -> Result<Row> {
    register(registry, SERVICES, TTL).await?;
    settle(etcd).await?;
    let (before, began) = (etcd.writes()?, Instant::now());
    for _ in 0..INTERVALS {
        send(registry, HEARTBEATS).await?;
    }
    let (after, seconds) = (etcd.writes()?, began.elapsed().as_secs_f64());
    let puts = after.puts - before.puts;
    let (writes, sent) = (after.proposals - before.proposals, (SERVICES * INTERVALS) as f64);
    Ok(Row {
        what: format!(
            "entries of etcd's log, of which {puts} puts / heartbeats of {SERVICES} services"
        ),
        measured: Unit::PerSecond(writes / seconds),
        baseline: Unit::PerSecond(sent / seconds),
        compared: Unit::Times(writes / sent),
        goal: Goal::AtMost(0.01),
        specified: "",
    })
}

/// Waits until nothing is written any more: the leases that registrations have replaced are ended afterwards.
async fn settle(etcd: &Etcd) -> Result<()> {
    let mut last = etcd.writes()?.proposals;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = etcd.writes()?.proposals;
        if now - last < 2.0 {
            return Ok(());
        }
        last = now;
    }
}

/// Sends one heartbeat of each service, evenly within a time.
async fn send(registry: &Registry, within: Duration) -> Result<()> {
    let (began, mut tasks) = (tokio::time::Instant::now(), JoinSet::new());
    for number in 0..SERVICES {
        let at = began + within.mul_f64(number as f64 / SERVICES as f64);
        tokio::time::sleep_until(at).await;
        let (registry, id) = (registry.clone(), format!("service-{number}").parse()?);
        tasks.spawn(async move { registry.heartbeat(&id).await });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}
