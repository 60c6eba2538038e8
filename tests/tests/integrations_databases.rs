//! The pools of databases while their servers are killed, return elsewhere and are promoted, under constant load.

mod deadpool;
mod examples;
mod load;
mod postgres_service;
mod redis;
mod sqlx;

use anyhow::Result;
use portolan_client::{DiscoveryClient, DiscoveryConfig, ServiceInstances};
use portolan_tests::REGISTRY;
use tokio::runtime::{Builder, Runtime};

/// How long a server in the role may be missing: longer than any restart on a busy machine.
const ACQUIRE: std::time::Duration = std::time::Duration::from_secs(60);

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// The live set of the instances of a service, of a client of its own.
fn instances(runtime: &Runtime, name: &str) -> Result<ServiceInstances> {
    let strategies = vec!["registry".parse().expect("it is one")];
    let config = DiscoveryConfig { strategies, ..DiscoveryConfig::default() };
    let client: DiscoveryClient =
        DiscoveryClient::builder().config(config).registry_url(REGISTRY).build()?;
    Ok(runtime.block_on(client.instances(name).into_future())?)
}
