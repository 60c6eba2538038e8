use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use portolan_core::{Incarnation, Registration, ServiceEvent, ServiceId, Ttl};
use portolan_metrics::Metrics;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::store::suite::{self, registration};
use crate::{EtcdConfig, EventStream, Registry, RegistryStatus, WatchQuery};
use cluster::Cluster;

mod access;
mod certificates;
mod cluster;
mod concurrency;
mod format;
mod mass_expiry;
mod outages;
mod servers;
mod transfer;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry server over etcd.
struct Server {
    registry: Registry,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server, and waits until it is ready.
    async fn start(config: &RegistryConfig) -> Self {
        let server = Self::begin(config);
        server.wait_for(RegistryStatus::Ready).await;
        server
    }

    fn begin(config: &RegistryConfig) -> Self {
        let metrics = Metrics::new();
        let (task, registry) = crate::open(config, metrics.clone()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(task.run(stopped.map(drop)));
        Self { registry, metrics, stop, task }
    }

    async fn wait_for(&self, status: RegistryStatus) {
        eventually(&format!("{status:?}"), || self.registry.status() == status).await;
    }

    async fn register(
        &self,
        registration: &Registration,
    ) -> Result<crate::Registered, RegistryError> {
        self.registry.register(registration.clone(), CommandOrigin::local()).await
    }

    /// A watch from now on.
    async fn watch(&self) -> EventStream {
        let mut watch = self.registry.watch(WatchQuery::default());
        assert_eq!(next(&mut watch).await.change.kind(), "snapshot");
        watch
    }

    /// Ends at once, without a shutdown: as after `kill -9`.
    async fn kill(self) {
        self.task.abort();
        _ = self.task.await;
        drop(self.stop);
    }
}

async fn next(watch: &mut EventStream) -> Arc<ServiceEvent> {
    timeout(PATIENCE, watch.next()).await.expect("no event").expect("the watch ended")
}

/// Waits until a condition holds.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, holds).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Whether the store did not answer: the caller may repeat its request.
fn is_unavailable(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Unavailable { .. } | RegistryError::Busy(_))
}

/// The settings of a registry with a prefix of its own.
fn config(cluster: &Cluster) -> RegistryConfig {
    static REGISTRIES: AtomicU32 = AtomicU32::new(0);
    let number = REGISTRIES.fetch_add(1, Ordering::Relaxed);
    let (endpoints, prefix) = (cluster.endpoints(), format!("/portolan-{number}"));
    let etcd = EtcdConfig { endpoints, prefix, ..EtcdConfig::default() };
    let (storage_backend, max_view_age) = (StorageBackend::Etcd, Duration::from_secs(2));
    RegistryConfig { storage_backend, etcd, max_view_age, ..RegistryConfig::default() }
}

fn brief(name: &str, port: u16) -> Registration {
    Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration(name, port) }
}

#[tokio::test]
async fn etcd_passes_the_suite_of_all_stores() {
    let cluster = Cluster::start(1).await;
    suite::run(|| open(&config(&cluster)).unwrap()).await;
}
