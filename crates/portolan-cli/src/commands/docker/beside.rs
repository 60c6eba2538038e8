//! `serve --docker`: registers containers in the registry of the same process.

use std::path::PathBuf;
use std::time::Duration;

use portolan_client::RegistryClient;
use portolan_core::{Backoff, Remedy as _, Ttl};
use portolan_docker::{ContainerRegistrar, Engine};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::socket;
use crate::exit::Failure;

/// How long instances are registered after the last renewal, as by `portolan docker`.
const TTL: Duration = Duration::from_secs(30);
/// The first wait before the engine is asked again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The task that registers containers.
pub(crate) struct Containers {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// Returns the engine at this socket, else at the default one, which need not run yet.
pub(crate) fn engine(path: Option<PathBuf>) -> Result<Engine, Failure> {
    Ok(Engine::new(socket(path)?)?)
}

// === impl Containers ===

impl Containers {
    /// Registers the containers of the engine until [`stop`](Self::stop).
    pub(crate) fn register(engine: Engine, client: RegistryClient) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            register(engine, client, &stopped).await;
        });
        Self { task, stop }
    }

    /// Deregisters all of them.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            warn!(%error, "The registration of containers has failed");
        }
    }
}

async fn register(engine: Engine, client: RegistryClient, stop: &CancellationToken) {
    let socket = engine.socket().display().to_string();
    let Some(id) = stop.run_until_cancelled(id(&engine)).await else { return };
    info!(socket, "Following Docker");
    let ttl = Ttl::new(TTL).expect("30 s are within the limits");
    let registrar = ContainerRegistrar::new(engine, id, client, ttl);
    registrar.run(stop.cancelled()).await;
}

/// Waits for the engine: a registry starts without it.
async fn id(engine: &Engine) -> String {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut is_reported = false;
    loop {
        match engine.id().await {
            Ok(id) => return id,
            Err(error) if !std::mem::replace(&mut is_reported, true) => {
                warn!(error = error.with_remedy(), "Docker not available, trying again");
            }
            Err(_) => {}
        }
        sleep(backoff.next_wait()).await;
    }
}
