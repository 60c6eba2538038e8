//! Waits for the state of the cluster, before which nothing is read or written below a prefix that may be another program's.

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Outlets;

/// A server's replica of the state of the cluster.
pub(crate) trait ClusterReplica {
    fn is_loaded(&self) -> bool;
    fn outlets(&self) -> &Outlets;
}

/// Waits until the replica is loaded; `progress` tells of its changes.
///
/// # Errors
///
/// Why it is not loaded at the deadline.
pub(crate) async fn wait_until_loaded<P>(
    replica: &Mutex<impl ClusterReplica>,
    progress: &mut watch::Receiver<P>,
    until: Instant,
) -> Result<(), String> {
    let is_loaded = || replica.lock().is_loaded();
    while !is_loaded() {
        if timeout_at(until, progress.changed()).await.is_err() {
            let replica = replica.lock();
            return Err(replica
                .outlets()
                .lost()
                .unwrap_or("its state is not loaded yet")
                .to_owned());
        }
    }
    Ok(())
}
