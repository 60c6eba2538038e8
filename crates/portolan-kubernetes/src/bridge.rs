//! Carries changes of a cluster to a registry.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use portolan_client::environment::ClientEnvironment;
use portolan_client::{RegistryClient, RegistryClientConfig};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::cli;
use crate::exit::{Exit, Failure};
use crate::registrar::Registrar;

/// How many changes of the cluster are handled together at most.
const TOGETHER: usize = 4_096;

/// Returns the client of the registry in the environment.
pub(crate) fn registry() -> Result<RegistryClient, Failure> {
    let environment = ClientEnvironment::read().map_err(Failure::usage)?;
    let config = RegistryClientConfig { tls: cli::registry_tls(), ..environment.registry };
    Ok(RegistryClient::new(config)?)
}

/// Applies each change to what is registered, and renews the leases. Never ends by itself.
pub(crate) async fn run<C>(
    changes: impl Stream<Item = C>,
    mut registrar: Registrar,
    ttl: Duration,
    mut apply: impl FnMut(&mut Registrar, C),
) -> Result<Exit, Failure> {
    let mut changes = std::pin::pin!(changes.ready_chunks(TOGETHER));
    // Three heartbeats in a TTL, as agents send them.
    let period = ttl / 3;
    let mut heartbeat = interval_at(Instant::now() + period, period);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let retry = registrar.next_attempt();
        tokio::select! {
            changes = changes.next() => match changes {
                Some(changes) => changes.into_iter().for_each(|change| apply(&mut registrar, change)),
                None => return Err(Failure::failed("the watches of the cluster have ended")),
            },
            _ = heartbeat.tick() => registrar.renew().await,
            () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
        }
        registrar.flush().await;
    }
}
