use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use portolan_core::{Registration, ServiceEvent};
use portolan_metrics::Metrics;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::store::suite::{self, registration};
use crate::{EventStream, Registry, RegistryStatus, WatchQuery};
use agent::Agent;

mod agent;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The settings of a registry with a prefix of its own.
fn config(agent: &Agent) -> RegistryConfig {
    static REGISTRIES: AtomicU32 = AtomicU32::new(0);
    let number = REGISTRIES.fetch_add(1, Ordering::Relaxed);
    let (url, prefix) = (agent.url(), format!("registries/{number}"));
    let consul = ConsulConfig { url, prefix, ..ConsulConfig::default() };
    RegistryConfig { storage_backend: StorageBackend::Consul, consul, ..RegistryConfig::default() }
}

#[tokio::test]
async fn consul_passes_the_suite_of_all_stores() {
    let agent = Agent::start().await;
    suite::run(|| open(&config(&agent)).unwrap()).await;
}
