//! Registry servers of tests, over a store that several of them share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use portolan_core::{Registration, ServiceEvent, Ttl};
use portolan_metrics::Metrics;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::store::suite::registration;
use crate::{
    CommandOrigin, EventStream, Registry, RegistryConfig, RegistryError, RegistryStatus, WatchQuery,
};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A registry server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    /// Starts a server, and waits until it is ready.
    pub(crate) async fn start(config: &RegistryConfig) -> Self {
        let server = Self::begin(config);
        server.wait_for(RegistryStatus::Ready).await;
        server
    }

    pub(crate) fn begin(config: &RegistryConfig) -> Self {
        let metrics = Metrics::new();
        let (task, registry) = crate::open(config, metrics.clone()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(task.run(stopped.map(drop)));
        Self { registry, metrics, stop, task }
    }

    pub(crate) async fn wait_for(&self, status: RegistryStatus) {
        eventually(&format!("{status:?}"), || self.registry.status() == status).await;
    }

    pub(crate) async fn register(
        &self,
        registration: &Registration,
    ) -> Result<crate::Registered, RegistryError> {
        self.registry.register(registration.clone(), CommandOrigin::local()).await
    }

    /// A watch from now on.
    pub(crate) async fn watch(&self) -> EventStream {
        let mut watch = self.registry.watch(WatchQuery::default());
        assert_eq!(next(&mut watch).await.change.kind(), "snapshot");
        watch
    }

    /// Ends at once, without a shutdown: as after `kill -9`.
    pub(crate) async fn kill(self) {
        self.task.abort();
        _ = self.task.await;
        drop(self.stop);
    }
}

pub(crate) async fn next(watch: &mut EventStream) -> Arc<ServiceEvent> {
    timeout(PATIENCE, watch.next()).await.expect("no event").expect("the watch ended")
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, holds).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Repeats a command until it succeeds, with pauses: what is waited for needs the processors too.
pub(crate) async fn accepted<T, E, F>(command: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
{
    let accepted = async {
        loop {
            match command().await {
                Ok(value) => return value,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, accepted).await.unwrap_or_else(|_| panic!("never accepted"))
}

/// Whether the store did not answer: the caller may repeat its request.
pub(crate) fn is_unavailable(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Unavailable { .. } | RegistryError::Busy(_))
}

pub(crate) fn brief(name: &str, port: u16) -> Registration {
    Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration(name, port) }
}
