use std::sync::atomic::AtomicU32;
use std::time::Duration;

use portolan_core::{HealthReport, HealthStatus, Registration, ServiceId, Source, Ttl};
use tokio::time::timeout;

use super::*;
use crate::store::remote::harness::{
    PATIENCE, Server, accepted, brief, eventually, is_unavailable, next,
};
use crate::store::remote::suite as several;
use crate::store::suite::{self, registration};
use crate::{RegistryStatus, StorageBackend, StoreTlsConfig, WatchQuery};
use agent::Agent;

mod access;
mod agent;
mod catalogue;
mod mass_expiry;
mod outages;
mod servers;
mod transfer;

/// The settings of a registry with a prefix of its own.
fn config(agent: &Agent) -> RegistryConfig {
    static REGISTRIES: AtomicU32 = AtomicU32::new(0);
    let number = REGISTRIES.fetch_add(1, Ordering::Relaxed);
    let (url, prefix) = (agent.url(), format!("registries/{number}"));
    let consul = ConsulConfig { url, prefix, ..ConsulConfig::default() };
    RegistryConfig {
        storage_backend: StorageBackend::named("consul").unwrap(),
        consul,
        ..RegistryConfig::default()
    }
}

#[tokio::test]
async fn consul_limits_the_instances_of_a_host() {
    let agent = Agent::start().await;
    let config = suite::limits::limited(config(&agent));
    suite::limits::run(|| open(&config).unwrap()).await;
}

#[tokio::test]
async fn consul_passes_the_suite_of_all_stores() {
    let agent = Agent::start().await;
    suite::run(|| open(&config(&agent)).unwrap()).await;
}

#[tokio::test]
async fn concurrent_commands_have_one_history() {
    let agent = Agent::start().await;
    several::run(|| config(&agent)).await;
}
