//! Detects which process listens first on the ports of a service: its program or a foreign process. While a foreign
//! process listens at any address of a port, the service is not announced.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use portolan_core::ServiceName;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::ProgramEvent;
use crate::child::{AcceptProbe, ListenerOwner, ProbeState, ProcessTree};

/// Initial and maximum poll interval. Servers take some tens of milliseconds to start.
const FIRST_INTERVAL: Duration = Duration::from_millis(5);
const REFRESH_INTERVAL: Duration = Duration::from_millis(200);

/// Polls the ports until a process listens.
#[derive(Debug)]
pub(super) struct ListenWatch {
    pub(super) service: ServiceName,
    pub(super) process_tree: ProcessTree,
    /// The ports, the main port first.
    pub(super) ports: Vec<u16>,
    pub(super) sign: ListenSignal,
    /// When to log that no process listens yet; `None` once it was logged.
    pub(super) overdue: Option<Instant>,
}

/// The evidence that the program listens.
#[derive(Debug)]
pub(super) enum ListenSignal {
    /// A connection to one of these addresses succeeds.
    Connects(Vec<String>),
    /// The program accepts a connection to this address. An inherited socket listens before the
    /// program starts, so a successful connection proves nothing.
    Accepts(SocketAddr, Option<AcceptProbe>),
    /// A socket listens on the port, for a service whose health check does not connect: no connection is made
    /// to its program. The program may listen on no TCP port at all, so that the wait can have an end.
    Listens(Option<Instant>),
}

// === impl ListenWatch ===

impl ListenWatch {
    /// Returns the same watch, which waits for a listener without end.
    pub(super) fn without_limit(self) -> Self {
        Self { sign: ListenSignal::Listens(None), ..self }
    }

    /// Waits for the first listener. Cancel-safe.
    pub(super) async fn first_listener(&mut self) -> ProgramEvent {
        let mut interval = FIRST_INTERVAL;
        loop {
            if let Some(event) = self.poll().await {
                return event;
            }
            sleep(interval).await;
            interval = (interval * 2).min(REFRESH_INTERVAL);
            if self.overdue.take_if(|overdue| *overdue < Instant::now()).is_some() {
                self.report_overdue();
            }
        }
    }

    fn report_overdue(&self) {
        let (service, port) = (&self.service, self.ports.first());
        match self.process_tree.ports_beside(&self.ports)[..] {
            [] => {
                warn!(service_name = %service, port, "Program does not listen yet, the service is registered when it does");
            }
            ref others => {
                warn!(
                    service_name = %service, port, listens_on = ?others,
                    remedy = "use {port} in its command, or the variable PORT",
                    "Program listens on another port, the service is registered when it listens on its own"
                );
            }
        }
    }

    async fn poll(&mut self) -> Option<ProgramEvent> {
        let port = *self.ports.first()?;
        let listener = match &mut self.sign {
            ListenSignal::Connects(addresses) => {
                listener_on_any(&self.process_tree, addresses, port).await
            }
            ListenSignal::Accepts(address, probe) => {
                listener_behind_socket(&self.process_tree, *address, probe).await
            }
            ListenSignal::Listens(_) => self.process_tree.owner_of(port),
        };
        let further = || {
            let taken = |port: &u16| Some((*port, self.process_tree.foreign_listener_on(*port)?));
            self.ports[1..].iter().find_map(taken)
        };
        match (listener, further()) {
            (ListenerOwner::Foreign(by), _) => Some(ProgramEvent::PortTaken { port, by }),
            (_, Some((port, by))) => Some(ProgramEvent::PortTaken { port, by }),
            (ListenerOwner::Own, None) => Some(ProgramEvent::Listening),
            (ListenerOwner::None, None) => self.has_waited().then_some(ProgramEvent::NotListening),
        }
    }

    /// Whether the wait for a program that need not listen is over.
    fn has_waited(&self) -> bool {
        matches!(self.sign, ListenSignal::Listens(Some(until)) if until < Instant::now())
    }
}

async fn listener_on_any(
    process_tree: &ProcessTree,
    addresses: &[String],
    port: u16,
) -> ListenerOwner {
    for address in addresses {
        match process_tree.listener_on(address, port).await {
            ListenerOwner::None => {}
            found => return found,
        }
    }
    ListenerOwner::None
}

/// An inherited socket was bound before the program started, so only the program can accept from
/// it. If the probe is refused, the ordinary check of the listener decides.
async fn listener_behind_socket(
    process_tree: &ProcessTree,
    address: SocketAddr,
    waiting: &mut Option<AcceptProbe>,
) -> ListenerOwner {
    if waiting.is_none() {
        *waiting = AcceptProbe::connect(address).await;
    }
    match waiting.as_ref().map(AcceptProbe::state) {
        Some(ProbeState::Accepted) => ListenerOwner::Own,
        Some(ProbeState::Pending) | None => ListenerOwner::None,
        Some(ProbeState::Refused) => {
            *waiting = None;
            process_tree.listener_on(&address.to_string(), address.port()).await
        }
    }
}

/// Returns whether bind(2) without `SO_REUSEADDR` fails with EADDRINUSE. Binding also detects
/// sockets of other users, which /proc and sock_diag do not attribute to a process.
pub(crate) fn is_in_use(port: u16) -> bool {
    let everywhere = [IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    everywhere.into_iter().any(|address| try_bind(address, port).is_err())
}

/// Close-on-exec, because another instance may start its program at the same time.
fn new_socket(process_tree: AddressFamily) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(process_tree, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

fn try_bind(address: IpAddr, port: u16) -> rustix::io::Result<()> {
    let process_tree = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    // Without IPv6 support, no IPv6 port is in use.
    let Ok(socket) = new_socket(process_tree) else { return Ok(()) };
    match rustix::net::bind(&socket, &SocketAddr::new(address, port)) {
        Err(Errno::ADDRINUSE) => Err(Errno::ADDRINUSE),
        _ => Ok(()),
    }
}
