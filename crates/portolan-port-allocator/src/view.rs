//! Who holds which port, as the table and the kernel have it at one moment.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::thread;
use std::time::Duration;

use portolan_core::{Scope, ServiceName};
use portolan_reservations::{Record, SessionId, Slot, State, Table};

use crate::audit;
use crate::error::{Rejection, RejectionReason};
use crate::holder::{Holder, SocketOwner};
use crate::processes;
use crate::sockets;

/// How long an explanation waits for others to finish their claims, which take microseconds.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSES: usize = 50;

/// A look at the table. What it learns of the kernel it asks for once.
#[derive(Debug)]
pub(crate) struct View<'a> {
    table: &'a Table,
    own: Option<SessionId>,
    alive: Memo<SessionId, bool>,
    users: Memo<u32, String>,
    start_times: Memo<u32, Option<u64>>,
    listeners: OnceCell<HashSet<(u16, u64)>>,
}

/// How many leases are in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) of_service: u32,
    pub(crate) of_all: u32,
}

/// Answers that are asked for once.
#[derive(Debug)]
struct Memo<K, V>(RefCell<HashMap<K, V>>);

/// Why a port was passed over, as far as the search itself could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody has its slot.
    Leased,
    /// Somebody has its socket.
    InUse,
    /// The configuration keeps it.
    Reserved,
    /// The system's administrator keeps it.
    SystemReserved,
    /// Browsers refuse it.
    BlockedByBrowsers,
    /// The system keeps it.
    NotPermitted,
}

// === impl View ===

impl<'a> View<'a> {
    /// A look from the session, where there is one.
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

    pub(crate) fn table(&self) -> &'a Table {
        self.table
    }

    /// How many leases the service holds, and all do together. What is left of owners that ended
    /// is given back meanwhile.
    pub(crate) fn census(&self, scope: &Scope, service: &ServiceName) -> Census {
        let mut census = Census::default();
        for port in 1..=u16::MAX {
            let Some((slot, record)) = self.table.read(port) else { continue };
            if self.is_in_force(port, slot, &record) {
                census.of_all += 1;
                census.of_service +=
                    u32::from(record.service == *service && record.scope == *scope);
            } else if slot.state() != State::Trying && self.table.release(port, slot) {
                audit::reclaimed(port, &record);
            }
        }
        census
    }

    /// Every lease in force, in the order of the ports.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        (1..=u16::MAX).filter_map(|port| self.holder(port)).collect()
    }

    /// The lease of a port, where one is in force.
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

    /// What is to be told of the ports that were passed over.
    pub(crate) fn explain(&self, passed_over: &[(u16, Cause)]) -> Vec<Rejection> {
        self.wait_for_claims(passed_over);
        let holders: HashMap<u16, Holder> =
            passed_over.iter().filter_map(|(port, _)| Some((*port, self.holder(*port)?))).collect();
        let unknown: Vec<u16> = passed_over
            .iter()
            .filter(|(port, cause)| {
                matches!(cause, Cause::Leased | Cause::InUse) && !holders.contains_key(port)
            })
            .map(|(port, _)| *port)
            .collect();
        let mut owners = match unknown.is_empty() {
            true => HashMap::new(),
            false => sockets::owners_of_ports(&unknown),
        };
        let mut reason = |port, cause| match (cause, owners.remove(&port)) {
            (Cause::Reserved, _) => RejectionReason::Reserved,
            (Cause::SystemReserved, _) => RejectionReason::SystemReserved,
            (Cause::BlockedByBrowsers, _) => RejectionReason::BlockedByBrowsers,
            (Cause::NotPermitted, _) => RejectionReason::NotPermitted,
            (_, Some(foreign)) => RejectionReason::ForeignProcess(foreign),
            (Cause::InUse, None) => RejectionReason::ForeignProcess(SocketOwner::default()),
            (Cause::Leased, None) => RejectionReason::FreeByNow,
        };
        let refusal = |(port, cause): &(u16, Cause)| {
            let holder = holders.get(port).cloned().map(Box::new).map(RejectionReason::Leased);
            Rejection { port: *port, reason: holder.unwrap_or_else(|| reason(*port, *cause)) }
        };
        passed_over.iter().map(refusal).collect()
    }

    /// A claim names nobody yet. It becomes a lease or is withdrawn in a moment; or its owner was
    /// killed, and then it is not waited for.
    fn wait_for_claims(&self, passed_over: &[(u16, Cause)]) {
        for _ in 0..PAUSES {
            let claimed = |(port, _): &(u16, Cause)| {
                let slot = self.table.slot(*port);
                slot.state() == State::Trying && self.table.is_alive(slot.session(), self.own)
            };
            if !passed_over.iter().any(claimed) {
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    fn describe(&self, port: u16, slot: Slot, record: Record) -> Holder {
        let protocol = if slot.udp() { "tcp+udp" } else { "tcp" };
        let began = self.start_times.get(record.pid, processes::start_time);
        Holder {
            port,
            protocol: protocol.parse().unwrap_or_default(),
            service: record.service,
            scope: record.scope,
            port_name: record.port_name,
            pid: record.pid,
            user: self.users.get(record.uid, processes::user_name),
            since: record.since,
            alive: began == Some(record.start_time),
            depth: slot.depth(),
        }
    }

    fn is_alive(&self, session: SessionId) -> bool {
        self.alive.get(session, |session| self.table.is_alive(session, self.own))
    }

    fn listens(&self, port: u16, inode: u64) -> bool {
        let listeners = self.listeners.get_or_init(|| sockets::listeners().into_iter().collect());
        // Who is not among them may listen only since. An answer that the system does not give is
        // taken for "yes", as that on sessions is.
        listeners.contains(&(port, inode)) || sockets::listens(port, inode).unwrap_or(true)
    }
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
