//! A read-only snapshot of the leases in force, from the reservation table and the kernel.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::thread;
use std::time::Duration;

use portolan_core::{Scope, ServiceName};
use portolan_host_facts::{ProcessStat, is_listening, listening_inodes, user_name};
use portolan_reservations::{Record, SessionId, Slot, State, Table};

use crate::lease::holder::Holder;

/// How long to wait for claims of other sessions, which take microseconds: this many pauses.
const PAUSES: usize = 50;
const PAUSE: Duration = Duration::from_millis(1);

/// A snapshot of the leases. It changes nothing, and caches what the kernel reports of sessions, users,
/// processes and listeners. The table is read anew by each call.
#[derive(Debug)]
pub(crate) struct LeaseSnapshot<'a> {
    table: &'a Table,
    own: Option<SessionId>,
    alive: Memo<SessionId, bool>,
    users: Memo<u32, String>,
    start_times: Memo<u32, Option<u64>>,
    listeners: OnceCell<HashSet<(u16, u64)>>,
}

/// How many leases are in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeaseCount {
    pub(crate) of_service: u32,
    pub(crate) of_user: u32,
}

/// A cache without eviction.
#[derive(Debug)]
struct Memo<K, V>(RefCell<HashMap<K, V>>);

// === impl LeaseSnapshot ===

impl<'a> LeaseSnapshot<'a> {
    /// A snapshot from the session, if there is one, about which the kernel cannot be asked.
    pub(crate) fn new(table: &'a Table, own: Option<SessionId>) -> Self {
        Self {
            table,
            own,
            alive: Memo::default(),
            users: Memo::default(),
            start_times: Memo::default(),
            listeners: OnceCell::new(),
        }
    }

    /// Counts the leases of the service and those of the user. Waits for claims of other living
    /// sessions to be decided; one that is not decided in time counts as a lease.
    pub(crate) fn count(&self, scope: &Scope, service: &ServiceName) -> LeaseCount {
        let mut count = LeaseCount::default();
        let mut pauses = PAUSES;
        for port in 1..=u16::MAX {
            if self.own.is_some_and(|own| self.table.slot(port).is_claim_of(own)) {
                continue;
            }
            if !self.wait_for_claim(port, &mut pauses) {
                count.of_user += 1;
                count.of_service += 1;
            } else if let Some((slot, record)) = self.table.read(port)
                && self.is_in_force(port, slot, &record)
            {
                let is_of_service = record.service == *service && record.scope == *scope;
                count.of_user += 1;
                count.of_service += u32::from(is_of_service);
            }
        }
        count
    }

    /// The leases whose session ended and the listeners whose socket was closed, which can be
    /// reclaimed.
    pub(crate) fn orphans(&self) -> Vec<(u16, Slot, Record)> {
        let orphan = |port| {
            let (slot, record) = self.table.read(port)?;
            let is_orphan = slot.state() != State::Trying && !self.is_in_force(port, slot, &record);
            is_orphan.then_some((port, slot, record))
        };
        (1..=u16::MAX).filter_map(orphan).collect()
    }

    /// Every lease in force, in the order of the ports.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        (1..=u16::MAX).filter_map(|port| self.holder(port)).collect()
    }

    /// The lease of a port, if one is in force.
    pub(crate) fn holder(&self, port: u16) -> Option<Holder> {
        let (slot, record) = self.table.read(port)?;
        self.is_in_force(port, slot, &record).then(|| self.describe(port, slot, record))
    }

    fn is_in_force(&self, port: u16, slot: Slot, record: &Record) -> bool {
        match slot.is_listing() {
            true => self.listens(port, record.inode),
            false => self.is_alive(slot.session()),
        }
    }

    /// Waits for claims on these ports to be decided, so that their holders have a name.
    pub(crate) fn wait_for_claims(&self, ports: impl IntoIterator<Item = u16>) {
        let mut pauses = PAUSES;
        for port in ports {
            self.wait_for_claim(port, &mut pauses);
        }
    }

    /// Waits until the claim of a living session on the port, if any, was published or withdrawn;
    /// false once the pauses are used up.
    fn wait_for_claim(&self, port: u16, pauses: &mut usize) -> bool {
        let claim = self.table.slot(port);
        if claim.state() != State::Trying {
            return true;
        }
        let session = claim.session();
        // The slot's other bits change when the session begins to publish the claim.
        while self.table.slot(port).is_claim_of(session) && self.table.is_alive(session, self.own) {
            if *pauses == 0 {
                return false;
            }
            *pauses -= 1;
            thread::sleep(PAUSE);
        }
        true
    }

    fn describe(&self, port: u16, slot: Slot, record: Record) -> Holder {
        let protocol = if slot.udp() { "tcp+udp" } else { "tcp" };
        let began = self.start_times.get(record.pid, start_time);
        Holder {
            port,
            protocol: protocol.parse().unwrap_or_default(),
            service: record.service,
            scope: record.scope,
            port_name: record.port_name,
            pid: record.pid,
            user: self.users.get(record.uid, user_name),
            since: record.since,
            alive: began == Some(record.start_time),
            depth: slot.depth(),
        }
    }

    fn is_alive(&self, session: SessionId) -> bool {
        self.alive.get(session, |session| self.table.is_alive(session, self.own))
    }

    fn listens(&self, port: u16, inode: u64) -> bool {
        let listeners = self.listeners.get_or_init(|| listening_inodes().into_iter().collect());
        // A socket that is not in the cache may listen only since. If the kernel does not answer, the
        // socket counts as listening: that loses a port and grants none twice.
        listeners.contains(&(port, inode)) || is_listening(port, inode).unwrap_or(true)
    }
}

fn start_time(pid: u32) -> Option<u64> {
    ProcessStat::read(pid).map(|stat| stat.start_time)
}

// === impl Memo ===

impl<K: Eq + Hash + Copy, V: Clone> Memo<K, V> {
    fn get(&self, key: K, ask: impl FnOnce(K) -> V) -> V {
        self.0.borrow_mut().entry(key).or_insert_with(|| ask(key)).clone()
    }
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}
