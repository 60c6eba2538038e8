//! The instances heard of: what each was last told to be, until its TTL ends. Knows no sockets and
//! asks no clock; the caller brings the time.

mod events;
mod state;

pub use events::PeerEvents;

use std::sync::Arc;

use parking_lot::Mutex;
use portolan_core::{Scope, ServiceAnnouncement, ServiceEndpoint, ServiceEvent, ServiceName, Ttl};
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use state::State;

/// How many changes wait for the slowest watcher; it gets a snapshot when it missed some.
const BACKLOG: usize = 1024;

/// What everybody in this process knows of the channel.
#[derive(Debug)]
pub(crate) struct Peers {
    inner: Mutex<Inner>,
    // Wakes whoever waits for the next expiry, when there is an earlier one.
    sooner: Notify,
}

#[derive(Debug)]
struct Inner {
    state: State,
    // None once closed: the streams end when the sender goes.
    events: Option<broadcast::Sender<ServiceEvent>>,
}

/// Which message of which sender something was heard in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) sender: String,
    pub(crate) sequence: u64,
}

/// There are as many instances as may be remembered, and this one is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

// === impl Peers ===

impl Peers {
    pub(crate) fn new(max: usize) -> Self {
        let events = Some(broadcast::Sender::new(BACKLOG));
        Self { inner: Mutex::new(Inner { state: State::new(max), events }), sooner: Notify::new() }
    }

    /// Takes in what an announcement says.
    pub(crate) fn hear(
        &self,
        announcement: &ServiceAnnouncement,
        ttl: Ttl,
        origin: Option<Origin>,
        now: Instant,
    ) -> Result<(), Full> {
        let mut inner = self.inner.lock();
        let before = inner.state.next_expiry();
        let change = inner.state.hear(announcement, ttl, origin, now)?;
        inner.tell(change);
        let after = inner.state.next_expiry();
        if before.is_none() || after < before {
            self.sooner.notify_one();
        }
        Ok(())
    }

    /// Forgets what has ended.
    pub(crate) fn expire(&self, now: Instant) {
        let mut inner = self.inner.lock();
        for change in inner.state.expire(now) {
            inner.tell(Some(change));
        }
    }

    /// Forgets each instance as its TTL ends, for as long as it is polled.
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

    /// The instances of the service (of all, without a name) in the scopes (in all, without any).
    pub(crate) fn find(
        &self,
        name: Option<&ServiceName>,
        scopes: &[Scope],
    ) -> Vec<Arc<ServiceEndpoint>> {
        let inner = self.inner.lock();
        let fits =
            |endpoint: &&Arc<ServiceEndpoint>| portolan_core::matches_any(scopes, &endpoint.scope);
        inner.state.of(name).filter(fits).cloned().collect()
    }

    /// How many instances there are of the service, or of all.
    pub(crate) fn count(&self, name: Option<&ServiceName>) -> usize {
        self.inner.lock().state.of(name).count()
    }

    pub(crate) fn close(&self) {
        self.inner.lock().events.take();
    }
}

impl Inner {
    // Under the lock that guards the state, so that a snapshot and what follows it fit together.
    fn tell(&self, change: Option<portolan_core::Change>) {
        if let (Some(change), Some(events)) = (change, &self.events) {
            // It fails where nobody watches, and nobody misses it.
            let _ = events.send(ServiceEvent { revision: Default::default(), change });
        }
    }
}

#[cfg(test)]
mod tests;
