//! Who listens first on a service's ports, its program or a stranger.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use portolan_core::ServiceName;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::Turn;
use crate::child::{Call, Caller, Family, Listener};

/// How soon, and then how often, it is looked whether a program listens: a server needs some tens
/// of milliseconds to start, and one that needs long is not found much later for it.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What is watched until somebody listens.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) service: ServiceName,
    pub(super) family: Family,
    /// The main port first.
    pub(super) ports: Vec<u16>,
    pub(super) sign: Sign,
    /// From when on it is worth a word that nobody listens yet; none where it was said.
    pub(super) overdue: Option<Instant>,
}

/// By what it is known that a program listens.
#[derive(Debug)]
pub(super) enum Sign {
    /// A connection to this address succeeds.
    Connects(String),
    /// The program has accepted a connection to this address. The socket that it inherited listened
    /// before it started, so there a connection alone proves nothing.
    Accepts(SocketAddr, Option<Caller>),
}

// === impl Watch ===

impl Watch {
    /// Who listens first. Safe to cancel and call again.
    pub(super) async fn first_listener(&mut self) -> Turn {
        let mut pause = FIRST_LOOK;
        loop {
            if let Some(turn) = self.look().await {
                return turn;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN);
            if self.overdue.take_if(|overdue| *overdue < Instant::now()).is_some() {
                let (service, port) = (&self.service, self.ports.first());
                warn!(service_name = %service, port, "Nothing listens on the port yet, the service can be found when it does");
            }
        }
    }

    async fn look(&mut self) -> Option<Turn> {
        let port = *self.ports.first()?;
        let listener = match &mut self.sign {
            Sign::Connects(address) => self.family.listener_on(address, port).await,
            Sign::Accepts(address, caller) => acceptor(&self.family, *address, caller).await,
        };
        let further = || {
            let stolen = |port: &u16| Some((*port, self.family.stranger_on(*port)?));
            self.ports[1..].iter().find_map(stolen)
        };
        match (listener, further()) {
            (Listener::Stranger(stranger), _) => Some(Turn::Stolen { port, stranger }),
            (_, Some((port, stranger))) => Some(Turn::Stolen { port, stranger }),
            (Listener::Own, None) => Some(Turn::Listens),
            (Listener::Nobody, None) => None,
        }
    }
}

/// Nobody else can have a socket that was bound before the program started. Where that socket was
/// closed, or connections are accepted only to be refused, it is as with any other listener.
async fn acceptor(family: &Family, address: SocketAddr, waiting: &mut Option<Caller>) -> Listener {
    if waiting.is_none() {
        *waiting = Caller::call(address).await;
    }
    match waiting.as_ref().map(Caller::outcome) {
        Some(Call::Accepted) => Listener::Own,
        Some(Call::Waits) | None => Listener::Nobody,
        Some(Call::Refused) => {
            *waiting = None;
            family.listener_on(&address.to_string(), address.port()).await
        }
    }
}

/// Whether a program that binds the port without more ado is refused it. The system is asked by
/// trying: what other users have, it does not show.
pub(super) fn is_in_use(port: u16) -> bool {
    let everywhere = [IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    everywhere.into_iter().any(|address| binds_plainly(address, port).is_err())
}

/// Closed on exec: another instance may be starting its program at this moment.
fn new_socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

fn binds_plainly(address: IpAddr, port: u16) -> rustix::io::Result<()> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    // A system without IPv6 has nothing in use there.
    let Ok(socket) = new_socket(family) else { return Ok(()) };
    match rustix::net::bind(&socket, &SocketAddr::new(address, port)) {
        Err(Errno::ADDRINUSE) => Err(Errno::ADDRINUSE),
        _ => Ok(()),
    }
}
