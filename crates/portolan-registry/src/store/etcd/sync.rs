//! Keeps the replica current: reads the state, then watches, and reconnects for ever.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use portolan_core::{Backoff, Remedy};
use portolan_etcd::{EtcdError, KeyRange, Transaction, WatchItem};
use tokio::time::Instant;
use tracing::{info, warn};

use super::fault::StoreFault;
use super::pages::read_all;
use super::probe::Probe;
use super::replica::Position;
use super::{NAME, Shared};
use crate::store::remote::{FORMAT, ServerValue};

/// The waits between attempts to reach etcd.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// How many leases are revoked at the same time.
const REVOKED: usize = 32;
/// The TTL of a server's membership, in seconds, and how often it is renewed.
const SERVER_TTL: i64 = 6;
const RENEW_SERVER: Duration = Duration::from_secs(2);
const RETRY_SERVER: Duration = Duration::from_millis(500);

// === impl Shared ===

impl Shared {
    /// Keeps the replica current, for ever.
    pub(super) async fn synchronise(&self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST).jitter(0.2);
        loop {
            let result = self.follow(&mut backoff).await;
            let Err(error) = result else { continue };
            // The feed logs the loss; a fault that only a person can repair is worth a line of its own.
            if let StoreFault::ForeignPrefix { .. } | StoreFault::OtherFormat { .. } = error {
                warn!(error = %error.with_remedy(), "Store etcd cannot be used");
            }
            self.replica.lock().outlets.lose(&error.with_remedy());
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Connects and applies what the watch delivers, until it is to be opened again.
    async fn follow(&self, backoff: &mut Backoff) -> Result<(), StoreFault> {
        let mut failovers = self.client.failovers();
        let at = self.check_format().await?;
        let known = self.replica.lock().position();
        // Smaller than before, or another cluster: it was restored from a backup.
        let resumed =
            known.filter(|known| known.cluster == at.cluster && known.revision <= at.revision);
        let position = match resumed {
            Some(position) => position,
            None => self.load().await?,
        };
        let range = self.keys.watched();
        let watch = self.client.watch(&range, position.revision + 1).await;
        let mut watch = match watch {
            Err(EtcdError::Compacted) => {
                self.load().await?;
                return Ok(());
            }
            watch => watch?,
        };
        if self.replica.lock().outlets.lost().is_some() {
            info!(revision = position.revision, "Watch of etcd opened");
        }
        self.replica.lock().resume();
        backoff.reset();
        let mut probe = Probe::new(self, watch.progress_requests());
        loop {
            let item = tokio::select! {
                item = watch.next() => item,
                _ = failovers.changed() => return Ok(()),
                () = probe.ask() => continue,
            };
            let batch = match item {
                Err(EtcdError::Compacted) => {
                    self.load().await?;
                    return Ok(());
                }
                Ok(WatchItem::Progress(revision)) => {
                    probe.progressed(revision);
                    continue;
                }
                Ok(WatchItem::Batch(batch)) => batch,
                Err(error) => return Err(error.into()),
            };
            self.replica.lock().apply(&batch.events, batch.revision);
            probe.applied(batch.revision);
            self.progress.send_replace(batch.revision);
        }
    }

    /// Reads the whole state at one revision.
    pub(super) async fn load(&self) -> Result<Position, StoreFault> {
        let began = Instant::now();
        let (keys, at) = read_all(&self.client, self.keys.watched()).await?;
        let mut replica = self.replica.lock();
        replica.load(&keys, at);
        self.freshness.confirm(began, replica.outlets.index());
        drop(replica);
        self.progress.send_replace(at.revision);
        Ok(at)
    }

    /// Checks that the prefix holds a registry in the format of this version, or nothing: then it becomes
    /// one. Returns the position of etcd.
    pub(super) async fn check_format(&self) -> Result<Position, StoreFault> {
        self.client.check_version().await?;
        let (key, prefix) = (self.keys.format(), self.keys.prefix());
        loop {
            let page = self.client.range(&KeyRange::key(&key), 1, 0).await?;
            if let Some(format) = page.keys.first() {
                StoreFault::check_prefix(NAME, prefix, Some(&format.value), None)?;
                return Ok(Position { cluster: page.cluster, revision: page.revision });
            }
            let used = self.client.range(&self.keys.all(), 1, 0).await?;
            let other = used.keys.first().map(|kv| kv.key.as_slice());
            StoreFault::check_prefix(NAME, prefix, None, other)?;
            let create = Transaction::default().if_unchanged(&key, 0);
            let create = create.put(key.clone(), FORMAT.into(), None);
            self.client.transact(create).await?;
        }
    }

    /// Keeps this server among the live ones, for ever.
    pub(super) async fn keep_membership(&self) {
        loop {
            let wait = match self.renew_membership().await {
                Ok(()) => RENEW_SERVER,
                // The watch reports it.
                Err(_) => RETRY_SERVER,
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn renew_membership(&self) -> Result<(), EtcdError> {
        if self.replica.lock().position().is_none() {
            // Nothing is written to a prefix that is not known to be a registry's.
            return Ok(());
        }
        let held = *self.membership_lease.lock();
        if let Some(held) = held
            && self.client.keep_alive(held).await?
        {
            return Ok(());
        }
        let lease = self.client.grant(SERVER_TTL).await?;
        let value = ServerValue::own(None, self.advertise_url.clone());
        let key = self.keys.server(self.server);
        let put = Transaction::default().put(key, value.encode(), Some(lease));
        // Before it is answered: a server that shuts down meanwhile must leave.
        *self.membership_lease.lock() = Some(lease);
        let put = self.client.transact(put).await;
        if put.is_err() {
            *self.membership_lease.lock() = None;
        }
        put.map(drop)
    }

    pub(super) async fn end_membership(&self) {
        let held = self.membership_lease.lock().take();
        if let Some(lease) = held {
            _ = self.client.revoke(lease).await;
        }
    }

    /// Revokes the leases of instances that were removed, for ever.
    pub(super) async fn revoke_all(&self) {
        let mut revocations = self.revocations_taken.lock().await;
        let queue = stream::poll_fn(|context| revocations.poll_recv(context));
        // If it fails, the lease ends by itself.
        queue.for_each_concurrent(REVOKED, async |lease| _ = self.client.revoke(lease).await).await;
    }
}
