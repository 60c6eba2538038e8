//! The end of checks by TTL in Consul: one server, which is its own agent, so that no gossip and no other server delays it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portolan_consul::{ConsulCheckStatus, ConsulClient, ConsulOptions, ConsulRegistration};
use serde_json::json;

use super::{TRIALS, TTL, killed};
use crate::bench_env::BenchEnv;
use crate::served::WITHIN;

/// How long a request waits for a change.
const WAIT: Duration = Duration::from_secs(5);
const SERVICE: &str = "crash-";

/// A running Consul. Dropping it ends it.
struct Consul {
    child: Child,
    url: String,
    _env: BenchEnv,
}

/// Stops renewing checks, and returns the times from the kill to the moment at which a request that waits for changes reports
/// the check as critical, in microseconds.
pub(super) fn ends() -> Result<Vec<u32>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let consul = Consul::start()?;
        let options = ConsulOptions { url: consul.url.clone(), ..ConsulOptions::default() };
        let client = ConsulClient::new(&options)?;
        consul.wait(&client).await?;
        let watched = tokio::spawn(watch(client.clone()));
        let mut kills = Vec::with_capacity(TRIALS);
        for number in 0..TRIALS {
            client.register_service(&registration(number)?).await?;
            kills.push(killed(number)?);
        }
        let seen = watched.await??;
        kills
            .into_iter()
            .zip(seen)
            .map(|(killed, seen)| {
                Ok(u32::try_from(seen.saturating_duration_since(killed).as_micros())?)
            })
            .collect()
    })
}

/// Returns when each check was seen to be critical.
async fn watch(client: ConsulClient) -> Result<Vec<Instant>> {
    let (mut seen, mut index) = (vec![None; TRIALS], 0);
    while seen.iter().any(Option::is_none) {
        let (now, checks) = client.checks(index, WAIT).await?;
        index = now;
        let critical = |check: &&portolan_consul::ConsulCheck| {
            check.status == Some(ConsulCheckStatus::Critical)
        };
        for check in checks.iter().filter(critical) {
            let Some(number) = check.service_name.strip_prefix(SERVICE) else { continue };
            let number: usize = number.parse()?;
            seen[number].get_or_insert_with(Instant::now);
        }
    }
    Ok(seen.into_iter().flatten().collect())
}

fn registration(number: usize) -> Result<ConsulRegistration> {
    let name = format!("{SERVICE}{number}");
    Ok(ConsulRegistration {
        id: name.clone(),
        name,
        address: "127.0.0.1".to_owned(),
        port: u16::try_from(10_000 + number)?,
        tags: Vec::new(),
        meta: Default::default(),
        ttl: TTL,
        deregister_after: Duration::from_secs(60),
        status: ConsulCheckStatus::Passing,
    })
}

// === impl Consul ===

impl Consul {
    fn start() -> Result<Self> {
        let env = BenchEnv::new()?;
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        let [http, server, serf] =
            listeners.map(|listener| Ok::<_, std::io::Error>(listener?.local_addr()?.port()));
        let (http, server, serf) = (http?, server?, serf?);
        let settings = json!({
            "server": true, "bootstrap": true, "node_name": "bench", "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1", "data_dir": env.directory().join("consul"),
            "disable_update_check": true, "performance": { "raft_multiplier": 1 },
            "ports": { "http": http, "dns": -1, "server": server, "serf_lan": serf, "serf_wan": -1, "grpc": -1 },
        });
        std::fs::write(env.directory().join("consul.json"), settings.to_string())?;
        let mut command = Command::new("consul");
        command.args(["agent", "-config-file", "consul.json"]).current_dir(env.directory());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .context("consul is missing; add the directory of `cargo xtask programs` to PATH")?;
        Ok(Self { child, url: format!("http://127.0.0.1:{http}"), _env: env })
    }

    /// Waits until it has a leader.
    async fn wait(&self, client: &ConsulClient) -> Result<()> {
        let began = Instant::now();
        while !client.checks(0, WAIT).await.is_ok_and(|(_, checks)| !checks.is_empty()) {
            ensure!(began.elapsed() < WITHIN, "Consul has no leader");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
