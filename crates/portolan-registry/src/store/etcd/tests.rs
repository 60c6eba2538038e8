use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use portolan_core::{Registration, ServiceId, Ttl};
use tokio::time::timeout;

use super::*;
use crate::store::remote::harness::{
    PATIENCE, Server, accepted, brief, eventually, is_unavailable, next,
};
use crate::store::suite::{self, registration};
use crate::{EtcdConfig, RegistryStatus, StorageBackend, WatchQuery};
use cluster::Cluster;

mod access;
mod certificates;
mod cluster;
mod concurrency;
mod format;
mod freshness;
mod mass_expiry;
mod outages;
mod servers;
mod transfer;

/// The settings of a registry with a prefix of its own.
fn config(cluster: &Cluster) -> RegistryConfig {
    static REGISTRIES: AtomicU32 = AtomicU32::new(0);
    let number = REGISTRIES.fetch_add(1, Ordering::Relaxed);
    let (endpoints, prefix) = (cluster.endpoints(), format!("/portolan-{number}"));
    let etcd = EtcdConfig { endpoints, prefix, ..EtcdConfig::default() };
    let (storage_backend, max_view_age) =
        (StorageBackend::named("etcd").unwrap(), Duration::from_secs(2));
    RegistryConfig { storage_backend, etcd, max_view_age, ..RegistryConfig::default() }
}

#[tokio::test]
async fn etcd_limits_the_instances_of_a_host() {
    let cluster = Cluster::start(1).await;
    let config = suite::limits::limited(config(&cluster));
    suite::limits::run(|| open(&config).unwrap()).await;
}

#[tokio::test]
async fn etcd_passes_the_suite_of_all_stores() {
    let cluster = Cluster::start(1).await;
    suite::run(|| open(&config(&cluster)).unwrap()).await;
}

#[tokio::test]
async fn cluster_of_three_members_passes_the_suite_of_all_stores() {
    let cluster = Cluster::start_patient(3).await;
    suite::run(|| open(&config(&cluster)).unwrap()).await;
}
