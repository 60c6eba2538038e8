//! The clients of the cluster, all in this process: services, watchers, lookups, and recorders of etcd's history.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::record::{Recording, Watch};

mod lookups;
mod recorders;
mod services;
mod watchers;

pub(super) use services::TTL;

const SERVICES: usize = 50;
const WATCHERS: usize = 20;
/// The services share so many names.
const NAMES: usize = 10;

/// What the services do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Register, renew, update, report health, deregister and crash.
    Change,
    /// Renew only.
    Renew,
    /// Nothing, as after a crash of all.
    End,
}

/// The clients while they run.
pub(super) struct Load {
    runtime: Runtime,
    phase: watch::Sender<Phase>,
}

// === impl Load ===

impl Load {
    /// Starts the clients of these servers and members of etcd.
    pub(super) fn start(
        servers: &[String],
        members: &[String],
        recording: &Arc<Recording>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (phase, urls) = (watch::Sender::new(Phase::Change), servers.join(","));
        let _inside = runtime.enter();
        for (index, member) in members.iter().enumerate() {
            runtime.spawn(recorders::record(index, member.clone(), Arc::clone(recording)));
        }
        for index in 0..WATCHERS {
            // The first ones know one server each, the others all.
            let urls = servers.get(index).unwrap_or(&urls).clone();
            runtime.spawn(watchers::watch(index, urls, Arc::clone(recording)));
        }
        for (index, server) in servers.iter().enumerate() {
            let recording = Arc::clone(recording);
            runtime.spawn(lookups::ask_one(index, server.clone(), recording));
        }
        runtime.spawn(lookups::ask_any(servers.to_vec(), Arc::clone(recording)));
        for number in 0..SERVICES {
            let (recording, phase) = (Arc::clone(recording), phase.subscribe());
            runtime.spawn(services::run(number, urls.clone(), recording, phase));
        }
        Ok(Self { runtime, phase })
    }

    /// From now on the services only renew their leases, so that all clients can come to rest.
    pub(super) fn calm(&self) {
        self.phase.send_replace(Phase::Renew);
    }

    /// The services crash, and do not return.
    pub(super) fn crash(&self) {
        self.phase.send_replace(Phase::End);
    }

    /// Ends all clients.
    pub(super) fn stop(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// The watches of all watchers: half of them of all services, the others of one each. The first ones watch one server
/// each, all others whichever answers.
pub(super) fn watches() -> Vec<Watch> {
    let name = |index: usize| (index % 2 == 1).then(|| services::name(index / 2));
    (0..WATCHERS).map(|index| Watch { name: name(index), seen: Vec::new() }).collect()
}
