//! The store `consul`: several equal servers over Consul, which keep no state of their own.
//!
//! Each endpoint is a key. A server keeps a replica of all of them, decides on it, and writes by a transaction that takes
//! effect only if what was decided on still holds (`consul/plan.rs`). Consul keeps no history, so each transaction
//! also writes what it has changed as a key of its own, which every server reads by a blocking query and one of them
//! deletes later (`consul/log.rs`). Revisions are indexes of Consul's log.
//!
//! The server that received the last heartbeat of an instance holds its lease (`consul/leases.rs`), and registers
//! the instance at its agent, so that Consul's own clients find it (`consul/publish.rs`). Services of Consul's own
//! clients are shown too (`consul/import.rs`). ADR 0018 has the reasons.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use portolan_consul::{ConsulAgent, ConsulClient, ConsulError};
use portolan_core::{Remedy, ServiceId};
use tokio::sync::{Notify, broadcast, watch};

use super::decide::CommandRules;
use super::mass_expiry::MassExpiry;
use super::remote::{FeedSource, ReplicaFeed};
use super::settings::{NEWS, SettingsNews, SettingsStore};
use super::{Freshness, OpenError, Receipt, Store, StoreKind, StoreParts, Update};
use crate::{
    Command, CommandOrigin, ConsulConfig, InvalidRegistryConfig, LiveServers, Membership, Recorder,
    RegistryConfig, RegistryError, ServerId,
};
use keys::Keys;
use membership::Member;
use replica::Replica;

mod commit;
mod fault;
mod import;
mod inspect;
mod keys;
mod leases;
mod log;
mod membership;
mod plan;
mod protect;
mod publish;
mod record;
mod replica;
mod settings;
mod sync;

/// The row of this store.
pub(super) const KIND: StoreKind = StoreKind {
    name: NAME,
    validate: |config| config.consul.validate(),
    open,
    inspect: inspect::inspect,
};

const NAME: &str = "consul";

/// A server over Consul.
#[derive(Debug)]
struct Consul {
    shared: Arc<Shared>,
    membership: Membership,
}

/// What the store and its feed share.
#[derive(Debug)]
struct Shared {
    client: ConsulClient,
    config: ConsulConfig,
    keys: Keys,
    server: ServerId,
    replica: Mutex<Replica>,
    /// The index that the replica shows.
    progress: watch::Sender<u64>,
    /// What watches of settings are told.
    news: broadcast::Sender<SettingsNews>,
    /// How many changes this server has named.
    changes: AtomicU64,
    /// The agent, once it has answered.
    agent: Mutex<Option<ConsulAgent>>,
    member: Mutex<Option<Member>>,
    freshness: Freshness,
    rules: Mutex<CommandRules>,
    /// The URL at which clients reach this server.
    advertise_url: Option<String>,
}

/// Opens the store. It connects once it is maintained.
fn open(config: &RegistryConfig) -> Result<StoreParts, OpenError> {
    let consul = &config.consul;
    let client = ConsulClient::new(&consul.options()?);
    let client = client.map_err(|error| InvalidRegistryConfig::from_consul(&error))?;
    let (keys, server) = (Keys::new(&consul.prefix), ServerId(rand::random()));
    let servers = watch::Sender::new(LiveServers::new());
    let membership = Membership::new(server, servers.subscribe());
    let mass_expiry = MassExpiry::from_config(config);
    let replica = Replica::new(keys.clone(), server, membership.clone(), servers, mass_expiry);
    let shared = Arc::new(Shared {
        client,
        config: consul.clone(),
        keys,
        server,
        replica: Mutex::new(replica),
        progress: watch::Sender::new(0),
        news: broadcast::Sender::new(NEWS),
        changes: AtomicU64::new(0),
        agent: Mutex::default(),
        member: Mutex::default(),
        freshness: Freshness::unconfirmed(),
        rules: Mutex::new(CommandRules::from_config(config)?),
        advertise_url: config.advertise_url.clone(),
    });
    let feed = Box::new(ReplicaFeed::open(Arc::clone(&shared)));
    Ok((Arc::new(Consul { shared, membership }), feed))
}

impl Store for Consul {
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
                self.shared.clean_up(),
                self.shared.publish(),
                self.shared.import(&recorder),
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
    /// The name of the next change.
    fn next_change(&self) -> String {
        format!("{:016x}-{}", self.server.0, self.changes.fetch_add(1, Ordering::Relaxed))
    }
}

fn unavailable(error: &ConsulError) -> RegistryError {
    unavailable_because(&error.with_remedy())
}

fn unavailable_because(reason: &str) -> RegistryError {
    RegistryError::Unavailable { store: NAME, reason: reason.to_owned() }
}

/// The news of a list follow the position that the former list has.
#[cfg(fuzzing)]
pub(super) fn read_lists(first: &[u8], second: &[u8]) {
    use portolan_consul::KvList;
    let list = |json: &[u8]| {
        let entries: Vec<portolan_consul::KvEntry> = serde_json::from_slice(json).ok()?;
        let index = entries.iter().map(|entry| entry.modify_index).max().unwrap_or_default();
        Some(KvList { index, entries })
    };
    let (Some(first), Some(second)) = (list(first), list(second)) else { return };
    let (keys, mut log) = (Keys::new("portolan"), log::Log::default());
    log.load(&keys, &first);
    let position = log.index();
    if let Ok(news) = log.read(&keys, &second, position) {
        assert!(news.changes.iter().all(|change| change.index > position));
        for change in &news.changes {
            _ = change.refers_to();
        }
    }
    log.clean_up(&keys, log::Floor::default());
}

#[cfg(test)]
mod tests;
