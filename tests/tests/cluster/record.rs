//! What the clients of the cluster have recorded. Times are those of one monotonic clock, since the start of the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use portolan_etcd::EtcdEvent;

/// Everything that the clients have recorded.
#[derive(Debug)]
pub(super) struct Recording {
    start: Instant,
    pub(super) calls: Mutex<Vec<Call>>,
    pub(super) lookups: Mutex<Vec<Lookup>>,
    /// One a watcher.
    pub(super) watches: Vec<Mutex<Watch>>,
    /// The events that each member of etcd has delivered, with the time at which they arrived.
    pub(super) members: Vec<Mutex<Vec<(Duration, EtcdEvent)>>>,
    pub(super) faults: Mutex<Vec<Fault>>,
}

/// A request that changes an instance, or renews its lease.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) kind: CallKind,
    pub(super) sent: Duration,
    pub(super) answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Register,
    Heartbeat,
    Health,
    Deregister,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Acknowledged; a registration with the revision of the instance.
    Accepted(u64),
    /// There is no such instance.
    Unknown,
    /// No server answered in time, or the one that did could not say whether it took effect.
    Failed(String),
}

/// A lookup of all instances.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    /// The server that answered, or did not.
    pub(super) server: usize,
    /// Whether the client knew all servers, so that it had to be answered whatever the fault.
    pub(super) any_server: bool,
    pub(super) sent: Duration,
    pub(super) received: Duration,
    /// The ids of the instances, each with its revision; or why there is no answer.
    pub(super) found: Result<Vec<(String, u64)>, String>,
    /// How old the server said that its view was; `None` if it did not say it.
    pub(super) age: Option<Duration>,
}

/// What a watcher has received.
#[derive(Debug, Default, Clone)]
pub(super) struct Watch {
    /// The service that is watched; `None` if it is all of them.
    pub(super) name: Option<String>,
    pub(super) seen: Vec<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// A marked snapshot: the revision of each instance.
    Snapshot {
        revision: u64,
        instances: BTreeMap<String, u64>,
    },
    Change {
        revision: u64,
        kind: &'static str,
        id: String,
    },
}

/// A fault, from before it began until all servers were ready again.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) what: String,
    /// The server that could not be reached; those that are cut off from etcd only still answer.
    pub(super) server: Option<usize>,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

// === impl Recording ===

impl Recording {
    pub(super) fn new(members: usize, watches: Vec<Watch>) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            calls: Mutex::default(),
            lookups: Mutex::default(),
            watches: watches.into_iter().map(Mutex::new).collect(),
            members: (0..members).map(|_| Mutex::default()).collect(),
            faults: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The number of changes and renewals that were acknowledged so far.
    pub(super) fn acknowledged(&self) -> usize {
        let is_accepted = |call: &&Call| matches!(call.answer, Answer::Accepted(_));
        self.calls.lock().iter().filter(is_accepted).count()
    }

    /// The number of lookups by clients that know all servers.
    pub(super) fn answered(&self) -> usize {
        let is_answered = |lookup: &&Lookup| lookup.any_server && lookup.found.is_ok();
        self.lookups.lock().iter().filter(is_answered).count()
    }
}

// === impl Lookup ===

impl Lookup {
    /// Whether the lookup and the fault were at the same time.
    pub(super) fn is_during(&self, fault: &Fault) -> bool {
        self.sent <= fault.until && fault.from <= self.received
    }

    /// Whether the server could not be reached.
    pub(super) fn is_excused_by(&self, faults: &[Fault]) -> bool {
        faults.iter().any(|fault| fault.server == Some(self.server) && self.is_during(fault))
    }
}
