use std::collections::BTreeMap;
use std::path::Path;

use portolan_agent::HostReservations;
use portolan_client::{DiscoveryClient, DiscoveryConfig};
use portolan_core::{HealthStatus, Host, PoolRange, Pools, PortRange, Ttl};
use portolan_port_allocator::PortAllocatorConfig;

use super::*;
use crate::child::WindowSize;
use crate::test_env::{TIMEOUT, TestEnv};

mod end;
mod needs;
mod output;
mod restarts;

const SCOPE: &str = "shop";

/// A stack that runs in the background.
struct Running {
    rows: watch::Receiver<Vec<InstanceStatus>>,
    lines: mpsc::Receiver<OutputLine>,
    stop: StopRequest,
    task: tokio::task::JoinHandle<StackEnd>,
}

/// Starts the services of this YAML; `POOL` is the env's pool, `#` a line.
fn start(env: &TestEnv, services: &str) -> Running {
    let file: StackFile = serde_saphyr::from_str(&format!("services:\n{services}")).unwrap();
    let context = context(env.folder.path(), env.allocator().pools());
    let stack = Stack::plan(&file, &context).unwrap();
    let rows = stack.rows();
    let (to, lines) = mpsc::channel(64);
    let (stop, deps, clients) = (StopRequest::default(), env.deps(), clients(env));
    let stopped = stop.clone();
    let task = tokio::spawn(async move { stack.run(&deps, &clients, to, &stopped).await });
    Running { rows, lines, stop, task }
}

fn clients(env: &TestEnv) -> StackClients {
    StackClients { discovery: discovery(env), uncached: discovery(env) }
}

fn context(folder: &Path, pools: Pools) -> StackContext {
    StackContext {
        scope: SCOPE.parse().unwrap(),
        folder: folder.to_owned(),
        host: Host::loopback(),
        ttl: Ttl::DEFAULT,
        environment: BTreeMap::from([("PORTOLAN_SCOPE".to_owned(), SCOPE.to_owned())]),
        pools,
        url_schemes: Default::default(),
        window: watch::channel(WindowSize::default()).1,
    }
}

fn discovery(env: &TestEnv) -> DiscoveryClient {
    let strategies = vec!["registry".parse().unwrap()];
    DiscoveryClient::builder()
        .config(DiscoveryConfig { strategies, ..DiscoveryConfig::default() })
        .registry_url(env.url.clone())
        .scope(SCOPE.parse().unwrap())
        .reservations(HostReservations::new(env.allocator()))
        .build()
        .unwrap()
}

// === impl Running ===

impl Running {
    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(TIMEOUT, self.lines.recv()).await.expect("a line in time");
        let line = line.expect("a line");
        format!("{}: {}", line.service, line.text)
    }

    async fn state(
        &mut self,
        service: &str,
        wanted: impl Fn(&InstanceState) -> bool,
    ) -> InstanceStatus {
        let is_wanted =
            |row: &&InstanceStatus| row.service.as_str() == service && wanted(&row.state);
        let reached = self.rows.wait_for(|rows| rows.iter().any(|row| is_wanted(&row)));
        let rows =
            tokio::time::timeout(TIMEOUT, reached).await.expect("the state in time").unwrap();
        rows.iter().find(is_wanted).unwrap().clone()
    }

    /// Takes it down, and returns the last rows and what was printed.
    async fn stop(mut self) -> (Vec<InstanceStatus>, Vec<String>) {
        self.stop.stop.cancel();
        let end = tokio::time::timeout(TIMEOUT, self.task).await.expect("an end in time").unwrap();
        let rows = end.rows;
        let mut printed = Vec::new();
        while let Some(line) = self.lines.recv().await {
            printed.push(format!("{}: {}", line.service, line.text));
        }
        (rows, printed)
    }
}

#[test]
fn wanted_port_is_the_default_port_of_the_configured_pool() {
    let mut config = PortAllocatorConfig::default();
    let web = PoolRange::new(PortRange::known(3001, 3010)).with_default(3000);
    config.port_ranges.insert("web".to_owned(), web);
    config.services.insert("orders".to_owned(), "web".to_owned());
    let file = "services: {api: {command: x, pool: web}, orders: {command: x}, other: {command: x},
        redis: {command: x}, pinned: {command: x, port: 81}, silent: {command: x, port: none}}";
    let file: StackFile = serde_saphyr::from_str(file).unwrap();
    let stack = Stack::plan(&file, &context(Path::new("/"), config.pools())).unwrap();
    let rows = stack.rows().borrow().clone();
    let wanted: Vec<_> = rows.iter().map(|row| (row.service.as_str(), row.wanted)).collect();
    let expected = [
        ("api", Some(3000)),
        ("orders", Some(3000)),
        ("other", None),
        ("pinned", Some(81)),
        ("redis", Some(6379)),
        ("silent", None),
    ];
    assert_eq!(wanted, expected);
}
