//! The store `etcd`: several equal servers over one etcd cluster, which keep no state of their own.
//!
//! Each endpoint is a key, attached to a lease of etcd. A server keeps a replica of all of them by a watch,
//! decides on it, and writes by a transaction that takes effect only if what was decided on still holds
//! (`etcd/plan.rs`). Revisions are those of etcd. A heartbeat keeps the lease alive and writes nothing;
//! leases are ended by servers, at their deadline (`etcd/leases.rs`).
//!
//! After an outage of etcd the watch resumes where it stopped; if that part of the history is compacted,
//! the feed continues with a reset. ADR 0015 has the reasons.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use portolan_core::{Remedy, ServiceId};
use portolan_etcd::{EtcdClient, EtcdError, EtcdLease};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::Instant;

use super::decide::CommandRules;
use super::mass_expiry::MassExpiry;
use super::remote::{FeedSource, ReplicaFeed};
use super::settings::{NEWS, SettingsNews, SettingsStore};
use super::{Freshness, OpenError, Receipt, Store, StoreKind, StoreParts, Update};
use crate::{
    Command, CommandOrigin, InvalidRegistryConfig, LiveServers, Membership, Recorder,
    RegistryConfig, RegistryError, ServerId,
};
use keys::Keys;
use replica::Replica;

mod commit;
mod fault;
mod inspect;
mod keys;
mod leases;
mod pages;
mod plan;
mod probe;
mod protect;
mod record;
mod replica;
mod settings;
mod sync;

/// The row of this store.
pub(super) const KIND: StoreKind = StoreKind {
    name: NAME,
    validate: |config| config.etcd.validate(),
    open,
    inspect: inspect::inspect,
};

const NAME: &str = "etcd";
/// How many leases wait to be revoked. Those beyond it end by themselves.
const REVOCATIONS: usize = 10_000;

/// A server over an etcd cluster.
#[derive(Debug)]
struct Etcd {
    shared: Arc<Shared>,
    membership: Membership,
}

/// What the store and its feed share.
#[derive(Debug)]
struct Shared {
    client: EtcdClient,
    keys: Keys,
    server: ServerId,
    replica: Mutex<Replica>,
    /// The revision of etcd that the replica shows.
    progress: watch::Sender<i64>,
    freshness: Freshness,
    revocations: mpsc::Sender<EtcdLease>,
    /// What watches of settings are told.
    news: broadcast::Sender<SettingsNews>,
    /// The lease of this server's membership.
    membership_lease: Mutex<Option<EtcdLease>>,
    /// Locked by the task that maintains the store.
    revocations_taken: tokio::sync::Mutex<mpsc::Receiver<EtcdLease>>,
    /// When etcd was asked last for the leases that appear to end.
    leases_verified: tokio::sync::Mutex<Option<Instant>>,
    rules: Mutex<CommandRules>,
    /// The URL at which clients reach this server.
    advertise_url: Option<String>,
}

/// Opens the store. It connects once it is maintained.
fn open(config: &RegistryConfig) -> Result<StoreParts, OpenError> {
    let etcd = Etcd::open(config)?;
    let feed = Box::new(ReplicaFeed::open(Arc::clone(&etcd.shared)));
    Ok((Arc::new(etcd), feed))
}

impl Etcd {
    fn open(config: &RegistryConfig) -> Result<Self, OpenError> {
        let etcd = &config.etcd;
        let client = EtcdClient::new(etcd.options()?);
        let client = client.map_err(|error| InvalidRegistryConfig::from_etcd(&error))?;
        let (keys, server) = (Keys::new(&etcd.prefix), ServerId(rand::random()));
        let servers = watch::Sender::new(LiveServers::new());
        let membership = Membership::new(server, servers.subscribe());
        let replica = Replica::new(
            keys.clone(),
            server,
            membership.clone(),
            servers,
            MassExpiry::from_config(config),
        );
        let (revocations, taken) = mpsc::channel(REVOCATIONS);
        let shared = Arc::new(Shared {
            client,
            keys,
            server,
            replica: Mutex::new(replica),
            progress: watch::Sender::new(0),
            freshness: Freshness::unconfirmed(),
            news: broadcast::Sender::new(NEWS),
            revocations,
            membership_lease: Mutex::new(None),
            revocations_taken: tokio::sync::Mutex::new(taken),
            leases_verified: tokio::sync::Mutex::default(),
            rules: Mutex::new(CommandRules::from_config(config)?),
            advertise_url: config.advertise_url.clone(),
        });
        Ok(Self { shared, membership })
    }
}

impl Store for Etcd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn commit<'a>(
        &'a self,
        commands: &'a [Command],
        origin: &'a CommandOrigin,
    ) -> BoxFuture<'a, Receipt> {
        async move {
            let outcomes = self.shared.commit_all(commands, origin).await;
            Receipt { outcomes, index: self.shared.replica.lock().outlets.index() }
        }
        .boxed()
    }

    fn registrant(&self, id: &ServiceId) -> Option<IpAddr> {
        self.shared.replica.lock().record(id)?.owner.peer
    }

    fn is_heartbeat_late(&self, id: &ServiceId) -> bool {
        self.shared.replica.lock().is_heartbeat_late(id)
    }

    fn settings(&self) -> Option<&dyn SettingsStore> {
        Some(self)
    }

    fn has_former_state(&self) -> bool {
        true
    }

    fn membership(&self) -> Membership {
        self.membership.clone()
    }

    fn maintain(&self, recorder: Recorder) -> BoxFuture<'_, ()> {
        async move {
            tokio::join!(
                self.shared.synchronise(),
                self.shared.keep_membership(),
                self.shared.end_leases(&recorder),
                self.shared.revoke_all(),
                self.shared.follow_settings(),
            );
        }
        .boxed()
    }

    fn reconfigure(&self, config: &RegistryConfig) -> Result<(), InvalidRegistryConfig> {
        *self.shared.rules.lock() = CommandRules::from_config(config)?;
        self.shared.replica.lock().mass_expiry.reconfigure(config);
        Ok(())
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        self.shared.end_membership().boxed()
    }
}

impl FeedSource for Shared {
    const NAME: &'static str = NAME;

    fn open_feed(&self) -> (u64, Arc<Notify>) {
        self.replica.lock().outlets.open()
    }

    fn close_feed(&self, feed: u64) {
        self.replica.lock().outlets.close(feed);
    }

    fn take_update(&self, feed: u64) -> Option<Result<Update, String>> {
        self.replica.lock().take_update(feed)
    }

    fn freshness(&self) -> &Freshness {
        &self.freshness
    }
}

// === impl Shared ===

impl Shared {
    /// Has a lease revoked that is no longer needed.
    fn revoke_later(&self, lease: EtcdLease) {
        _ = self.revocations.try_send(lease);
    }
}

fn unavailable(error: &EtcdError) -> RegistryError {
    unavailable_because(&error.with_remedy())
}

fn unavailable_because(reason: &str) -> RegistryError {
    RegistryError::Unavailable { store: NAME, reason: reason.to_owned() }
}

/// A value that is accepted is the same after it is written again.
#[cfg(fuzzing)]
pub(super) fn decode_and_encode(json: &[u8], written: i64) {
    let Ok(value) = record::Value::decode(json, written) else { return };
    (value.owner(), value.server());
    let again = record::Value::decode(&value.encode(), written).expect("it was written by us");
    assert_eq!(again, value);
}

#[cfg(test)]
mod tests;
