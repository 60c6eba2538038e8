//! Membership: the live servers over one store, and which of them owns an endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_core::ServiceId;
use tokio::sync::watch;

/// A server over a store, unique among all that are live at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

/// The live servers over a store, each with the URL that it advertises to clients, if it does.
pub type LiveServers = BTreeMap<ServerId, Option<Arc<str>>>;

/// The live servers over one store, as one of them sees it.
///
/// Each endpoint has exactly one owner among the live servers, which runs its health checks. It is
/// chosen by rendezvous hashing, so that a server that joins or leaves moves only its own share.
#[derive(Debug, Clone)]
pub struct Membership {
    own: ServerId,
    live: watch::Receiver<LiveServers>,
}

// === impl Membership ===

impl Membership {
    /// The membership of the server `own` in the set of live servers that a store maintains.
    pub fn new(own: ServerId, live: watch::Receiver<LiveServers>) -> Self {
        Self { own, live }
    }

    /// Whether this server owns the endpoint.
    pub fn owns(&self, id: &ServiceId) -> bool {
        self.live.borrow().keys().copied().max_by_key(|server| (weight(*server, id), *server))
            == Some(self.own)
    }

    /// The URLs that the live servers advertise, ordered by server, at most so many.
    pub fn urls(&self, limit: usize) -> Vec<Arc<str>> {
        self.live.borrow().values().flatten().take(limit).cloned().collect()
    }

    /// Whether any of the live servers advertises a URL.
    pub fn has_urls(&self) -> bool {
        self.live.borrow().values().any(Option::is_some)
    }

    /// Waits until servers have joined or left since the last call; pending for ever if the store
    /// is gone. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.live.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The weight of an endpoint on a server: FNV-1a over the id with the finalizer of MurmurHash3.
/// Defined here, because all servers must agree on it whatever version they are.
fn weight(server: ServerId, id: &ServiceId) -> u64 {
    let bytes = server.0.to_be_bytes().into_iter().chain(id.as_str().bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(live: &[u64]) -> Vec<u64> {
        let (_sender, receiver) =
            watch::channel(live.iter().map(|server| (ServerId(*server), None)).collect());
        let id = |number: u64| -> ServiceId { format!("api-{number}").parse().unwrap() };
        let owner = |number| {
            let owns = |server: &&u64| {
                Membership::new(ServerId(**server), receiver.clone()).owns(&id(number))
            };
            let owners: Vec<_> = live.iter().filter(owns).collect();
            assert_eq!(owners.len(), 1, "exactly one owner of {number}");
            *owners[0]
        };
        (0..3000).map(owner).collect()
    }

    #[test]
    fn each_endpoint_has_one_owner_and_a_server_that_leaves_moves_only_its_own() {
        let three = owners(&[1, 2, 3]);
        for server in [1, 2, 3] {
            let share = three.iter().filter(|owner| **owner == server).count();
            assert!((800..1200).contains(&share), "{share} of 3000");
        }
        let two = owners(&[1, 3]);
        for (before, after) in three.iter().zip(&two) {
            assert!(before == after || *before == 2);
        }
    }

    #[test]
    fn weights_do_not_change_between_versions() {
        let id = "api@127.0.0.1:8080".parse().unwrap();
        assert_eq!(weight(ServerId(1), &id), 217_307_829_457_474_998);
    }
}
