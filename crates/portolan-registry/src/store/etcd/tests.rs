use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::EtcdConfig;
use crate::store::suite;
use cluster::Cluster;

mod cluster;

/// The settings of a registry with a prefix of its own.
fn config(cluster: &Cluster) -> RegistryConfig {
    static REGISTRIES: AtomicU32 = AtomicU32::new(0);
    let number = REGISTRIES.fetch_add(1, Ordering::Relaxed);
    let (endpoints, prefix) = (cluster.endpoints(), format!("/portolan-{number}"));
    let etcd = EtcdConfig { endpoints, prefix, ..EtcdConfig::default() };
    let storage_backend = StorageBackend::Etcd;
    RegistryConfig { storage_backend, etcd, ..RegistryConfig::default() }
}

#[tokio::test]
async fn etcd_passes_the_suite_of_all_stores() {
    let cluster = Cluster::start(1).await;
    suite::run(|| open(&config(&cluster)).unwrap()).await;
}
