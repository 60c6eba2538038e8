//! The table of announced instances: the last announcement of each, until its TTL ends. It performs no
//! I/O, and the caller passes the time.

mod events;
mod shares;
mod state;

pub use events::PeerEvents;

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use portolan_core::{Action, Scope, ServiceEndpoint, ServiceEvent, ServiceName, Ttl};
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use state::State;

/// The number of changes buffered for the slowest watcher. A watcher that misses some gets a snapshot.
const BACKLOG: usize = 1024;

/// The instances announced on the channel, shared by all users of a broadcaster.
#[derive(Debug)]
pub(crate) struct Peers {
    inner: Mutex<Inner>,
    // Wakes the expiry task if an entry expires before the one that it waits for.
    sooner: Notify,
}

#[derive(Debug)]
struct Inner {
    state: State,
    // `None` once closed: dropping the sender ends the streams.
    events: Option<broadcast::Sender<ServiceEvent>>,
}

/// Where a message comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The address that sent it.
    pub(crate) source: IpAddr,
    /// The sender and the sequence number, if it has them.
    pub(crate) number: Option<Number>,
}

/// The sender and the sequence number of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) sender: String,
    pub(crate) sequence: u64,
    /// Whether it is proven, because the message is signed.
    pub(crate) is_signed: bool,
}

/// The table has its maximum number of instances, this one is new, and its source has as many as any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

// === impl Peers ===

impl Peers {
    pub(crate) fn new(max: usize) -> Self {
        let events = Some(broadcast::Sender::new(BACKLOG));
        Self { inner: Mutex::new(Inner { state: State::new(max), events }), sooner: Notify::new() }
    }

    /// Applies an announcement.
    pub(crate) fn apply(
        &self,
        action: Action,
        service: &Arc<ServiceEndpoint>,
        ttl: Ttl,
        origin: Origin,
        now: Instant,
    ) -> Result<(), Full> {
        let mut inner = self.inner.lock();
        let before = inner.state.next_expiry();
        for change in inner.state.apply(action, service, ttl, origin, now)? {
            inner.notify(change);
        }
        let after = inner.state.next_expiry();
        if before.is_none() || after < before {
            self.sooner.notify_one();
        }
        Ok(())
    }

    /// Removes the expired entries.
    pub(crate) fn expire(&self, now: Instant) {
        let mut inner = self.inner.lock();
        for change in inner.state.expire(now) {
            inner.notify(change);
        }
    }

    /// Removes each entry as its TTL ends, until it is dropped.
    pub(crate) async fn keep_expiring(&self) {
        loop {
            let next = self.inner.lock().state.next_expiry();
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.expire(Instant::now()),
                () = self.sooner.notified() => {}
            }
        }
    }

    /// Returns the instances of the service, or of all services, in these scopes, or in all if there are none.
    pub(crate) fn find(
        &self,
        name: Option<&ServiceName>,
        scopes: &[Scope],
    ) -> Vec<Arc<ServiceEndpoint>> {
        let inner = self.inner.lock();
        let fits =
            |endpoint: &&Arc<ServiceEndpoint>| portolan_core::matches_any(scopes, &endpoint.scope);
        inner.state.live(name).filter(fits).cloned().collect()
    }

    /// Returns the number of instances of the service, or of all services.
    pub(crate) fn count(&self, name: Option<&ServiceName>) -> usize {
        self.inner.lock().state.live(name).count()
    }

    pub(crate) fn close(&self) {
        self.inner.lock().events.take();
    }
}

impl Inner {
    // Called under the lock of the state, so that no change is lost between a snapshot and its stream.
    fn notify(&self, change: portolan_core::Change) {
        if let Some(events) = &self.events {
            // Sending fails if there is no watcher.
            let _ = events.send(ServiceEvent { revision: Default::default(), change });
        }
    }
}

#[cfg(test)]
mod tests;
