//! The environment of the tests: a block of free ports and a registry.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use portolan_client::{RegistryClient, RegistryClientConfig};
use portolan_core::{
    Host, PoolRange, PortRange, Remedy, Scope, ServiceEndpoint, Ttl, is_blocked_by_browsers,
};
use portolan_health::HealthConfig;
use portolan_http::{HttpLimits, serve};
use portolan_http_api::Api;
use portolan_metrics::Metrics;
use portolan_port_allocator::{Holder, PortAllocator, PortAllocatorConfig};
use portolan_registry::{Registry, RegistryConfig};
use tokio::task::JoinSet;

use crate::child::Terminal;
use crate::service::{PortSpec, ServiceDeps, ServiceSpec, is_in_use};

/// A generous time limit, so that only a hang exceeds it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// The name of the pool.
pub(crate) const POOL: &str = "mine";
/// The number of ports in the pool.
const PORTS: u16 = 4;

/// A temporary directory, a block of free ports and a registry.
pub(crate) struct TestEnv {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) registry: Registry,
    pub(crate) url: String,
    ports: TcpListener,
    _tasks: JoinSet<()>,
}

// === impl TestEnv ===

impl TestEnv {
    pub(crate) async fn new() -> Self {
        let (writer, registry) =
            portolan_registry::open(&RegistryConfig::default(), Metrics::new()).unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let dialects = [Api::new(registry.clone(), Metrics::new()).dialect()];
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run(std::future::pending()));
        tasks.spawn(async move {
            let limits = HttpLimits::default();
            serve(listener, dialects, limits, std::future::pending()).await.unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        Self { folder, registry, url, ports: block_of_ports(), _tasks: tasks }
    }

    /// Returns a port of the pool; index 0 is its default port.
    pub(crate) fn port(&self, index: u16) -> u16 {
        self.ports.local_addr().unwrap().port() + 1 + index
    }

    pub(crate) fn allocator(&self) -> PortAllocatorConfig {
        let range = PortRange::new(self.port(0), self.port(PORTS - 1)).unwrap();
        let pool = PoolRange::new(range).with_default(self.port(0));
        PortAllocatorConfig {
            port_ranges: [(POOL.to_owned(), pool)].into(),
            runtime_dir: Some(self.path("run")),
            state_dir: Some(self.path("state")),
            ..PortAllocatorConfig::default()
        }
    }

    pub(crate) fn deps(&self) -> ServiceDeps {
        let client = RegistryClient::new(RegistryClientConfig::new(self.url.clone())).unwrap();
        ServiceDeps {
            allocator: self.allocator(),
            health: HealthConfig::default(),
            metrics: Metrics::new(),
            registry: Some(client),
            broadcaster: None,
            shim: None,
            record: None,
        }
    }

    /// Returns a shell script as a service in the temporary directory, with a port of the pool and
    /// without a health check.
    pub(crate) fn shell(&self, script: &str) -> ServiceSpec {
        let words = ["sh", "-c", script].map(str::to_owned).into();
        ServiceSpec {
            name: "api".parse().unwrap(),
            scope: Scope::default(),
            command: crate::CommandLine::new(words).unwrap(),
            port: Some(PortSpec { pool: Some(POOL.to_owned()), ..PortSpec::default() }),
            host: Host::loopback(),
            follow_addresses: false,
            protocol: None,
            version: String::new(),
            metadata: Default::default(),
            check: None,
            ttl: Ttl::DEFAULT,
            drain: crate::service::DRAIN,
            handoff: Default::default(),
            environment: Default::default(),
            placeholders: Default::default(),
            account: None,
            directory: Some(self.folder.path().to_owned()),
            stop_command: None,
            stop_signal: None,
            terminal: Terminal::Captured { closed_stdin: true },
        }
    }

    pub(crate) fn registered(&self) -> Vec<ServiceEndpoint> {
        self.registry.list().iter().map(|endpoint| (**endpoint).clone()).collect()
    }

    /// Returns the lease holders, read through a separate allocator.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        PortAllocator::new(self.allocator()).unwrap().holders()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str) {
        std::fs::write(self.path(name), "").unwrap();
    }

    /// Returns a script that starts a real server on `$PORT` when the file `go` exists.
    pub(crate) fn server_after_go() -> &'static str {
        let there = std::process::Command::new("redis-server").arg("--version").output().is_ok();
        assert!(
            there,
            "redis-server is missing: apt-get install --no-install-recommends redis-server"
        );
        "while ! test -e go; do sleep 0.02; done; exec redis-server --port $PORT --bind 127.0.0.1 --save \"\""
    }

    /// Waits until the file contains a whole line, and returns the line.
    pub(crate) async fn line_in(&self, name: &str) -> String {
        let path = self.path(name);
        let text = || std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'));
        poll_until(name, text).await.trim_end().to_owned()
    }
}

/// Formats the text and the remedy of each error, for a snapshot.
pub(crate) fn texts_and_remedies<E: Remedy>(errors: &[E]) -> String {
    let text = |error: &E| format!("{error}\n  remedy: {}", error.remedy().unwrap_or("-".into()));
    errors.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Polls until the closure returns a value.
pub(crate) async fn poll_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask() {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(TIMEOUT, asking).await.unwrap_or_else(|_| panic!("{what} in time"))
}

/// Returns the listener on the port just before a block of free ports below the ephemeral range.
/// The listener reserves the block against other tests.
fn block_of_ports() -> TcpListener {
    let size = usize::from(PORTS) + 1;
    let first = 5_600 + u16::try_from(std::process::id() % 400).unwrap() * (PORTS + 1);
    let blocks = (first..7_900).step_by(size).chain((5_600..first).step_by(size));
    // Also skips connections in TIME-WAIT, for which a service would move to another port.
    let is_usable = |port| !is_blocked_by_browsers(port) && !is_in_use(port);
    let take = |start: u16| {
        let owner = TcpListener::bind(("127.0.0.1", start)).ok()?;
        (start + 1..=start + PORTS).all(is_usable).then_some(owner)
    };
    blocks.into_iter().find_map(take).expect("a block of free ports")
}
