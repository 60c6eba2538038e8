//! A real etcd of one member, with its data in a directory of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portolan_etcd::{EtcdClient, EtcdOptions};
use portolan_registry::{EtcdConfig, RegistryConfig, StorageBackend};

use crate::bench_env::BenchEnv;

/// How long the start may take.
const START: Duration = Duration::from_secs(30);

/// A running etcd. Dropping it ends it.
pub(crate) struct Etcd {
    child: Child,
    address: SocketAddr,
    _env: BenchEnv,
}

/// What etcd has written so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writes {
    /// Writes of keys.
    pub(super) puts: f64,
    /// Entries of the log that all members agree on: writes, and the begin and the end of leases.
    pub(super) proposals: f64,
}

// === impl Etcd ===

impl Etcd {
    pub(crate) fn start() -> Result<Self> {
        let env = BenchEnv::new()?;
        let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [address, peer] = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        drop(listeners);
        let child =
            spawn(env.directory(), &format!("http://{address}"), &format!("http://{peer}"))?;
        let etcd = Self { child, address, _env: env };
        let began = Instant::now();
        while etcd.get("/health").is_err() {
            ensure!(began.elapsed() < START, "etcd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(etcd)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client. Must be called within a runtime.
    pub(crate) fn client(&self) -> Result<EtcdClient> {
        let endpoints = vec![self.url()];
        Ok(EtcdClient::new(EtcdOptions { endpoints, ..EtcdOptions::default() })?)
    }

    /// The settings of a registry over it.
    pub(super) fn config(&self, prefix: &str, max_endpoints: usize) -> RegistryConfig {
        let (endpoints, prefix) = (vec![self.url()], prefix.to_owned());
        let etcd = EtcdConfig { endpoints, prefix, ..EtcdConfig::default() };
        let storage_backend = StorageBackend::named("etcd").expect("the feature etcd is on");
        RegistryConfig { storage_backend, etcd, max_endpoints, ..RegistryConfig::default() }
    }

    pub(super) fn writes(&self) -> Result<Writes> {
        let page = self.get("/metrics")?;
        let value = |name: &str| -> Result<f64> {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(Writes {
            puts: value("etcd_debugging_mvcc_put_total")?,
            proposals: value("etcd_server_proposals_committed_total")?,
        })
    }

    /// Returns a page. In HTTP/1.0, because its answer ends with the connection, however long it is.
    fn get(&self, path: &str) -> Result<String> {
        let mut connection = TcpStream::connect(self.address)?;
        connection.set_read_timeout(Some(START))?;
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let (head, page) = answer.split_once("\r\n\r\n").context("an answer without an end")?;
        ensure!(head.contains(" 200 "), "{path}: {head}");
        Ok(page.to_owned())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(directory: &Path, client: &str, peer: &str) -> Result<Child> {
    let mut command = Command::new("etcd");
    command
        .args(["--data-dir", "data", "--logger", "zap", "--log-level", "error"])
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().context("etcd is missing: apt-get install --no-install-recommends etcd-server")
}
