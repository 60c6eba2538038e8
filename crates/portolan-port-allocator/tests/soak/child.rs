//! Children of owners: one that serves with the socket it was handed, and one that keeps the lease
//! when its owner is killed.

use std::env;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use portolan_port_allocator::{Depth, PortLease};
use rand::RngExt;
use rustix::process::{Signal, getpid, kill_process};

use crate::ground::{Figure, Ground, Safety};
use crate::support::copy::bequeath;
use crate::worker::{blame, command};

/// What an heir keeps: port, depth, and the moment at which it was granted.
const LEASE: &str = "PORTOLAN_SOAK_LEASE";
/// How long a child may take to start. It is long, because many do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child that listens with a lease's socket, which this process has no more.
pub(crate) struct Served(Child);

// === impl Served ===

impl Served {
    pub(crate) fn start(lease: &mut PortLease) -> io::Result<Self> {
        let sockets = lease.listening_sockets().map_err(io::Error::other)?;
        let listener = sockets[0].try_clone_to_owned()?;
        let child = command("server").stdin(Stdio::from(listener)).spawn()?;
        lease.leave_sockets_to_child();
        Ok(Self(child))
    }

    /// A connection to the child, which ends with it.
    pub(crate) fn connect(&self, port: u16) -> io::Result<Option<TcpStream>> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut pid = [0; 4];
        connection.read_exact(&mut pid)?;
        match u32::from_ne_bytes(pid) == self.0.id() {
            true => Ok(Some(connection)),
            false => Err(io::Error::other("somebody else answers")),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It ends with its connection, but there may have been none.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Serves one client with the socket that this process has for its standard input.
pub(crate) fn serve() {
    let connection = rustix::net::accept(io::stdin()).unwrap();
    rustix::io::write(&connection, &std::process::id().to_ne_bytes()).unwrap();
    _ = rustix::io::read(&connection, &mut [0]);
}

/// Leaves the lease to a child, and is killed.
#[allow(clippy::zombie_processes, reason = "the child is to outlive this process")]
pub(crate) fn die_before_an_heir(lease: &PortLease, granted: u64) -> ! {
    lease.listening_sockets().unwrap();
    bequeath(lease);
    let (mut here, there) = UnixStream::pair().unwrap();
    let mut heir = command("heir");
    heir.env(LEASE, format!("{} {} {granted}", lease.port(), lease.depth()));
    heir.stdin(Stdio::from(OwnedFd::from(there))).spawn().unwrap();
    drop(heir);
    here.read_exact(&mut [0]).unwrap();
    _ = kill_process(getpid(), Signal::KILL);
    unreachable!("killed");
}

/// Keeps the lease of the process that started this one, for a while after its end.
pub(crate) fn inherit(ground: &Ground) {
    let lease = env::var(LEASE).unwrap();
    let [port, depth, granted] = lease.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (port, granted) = (port.parse().unwrap(), granted.parse().unwrap());
    if let Err(pid) = ground.inherit(port) {
        blame(ground, Figure::Duplicates, &format!("port {port} has two heirs, {pid} the other"));
    }
    let is_bound = depth == Depth::Bound.as_str();
    let server = (!is_bound).then(|| listen(ground, port, granted)).flatten();
    ground.count(Figure::Inherited);
    // The owner has the other end, until it is dead.
    _ = rustix::io::write(io::stdin(), b"!");
    _ = io::stdin().read(&mut [0]);
    if (is_bound || server.is_some())
        && let Err(pid) = ground.protect(port, Safety::Sealed)
    {
        let what = format!("port {port} is inherited, and process {pid} has it");
        blame(ground, Figure::Duplicates, &what);
    }
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..300)));
}

fn listen(ground: &Ground, port: u16, granted: u64) -> Option<TcpListener> {
    let server = TcpListener::bind(("127.0.0.1", port));
    match &server {
        Err(_) if ground.had_stranger(port, granted) => _ = ground.count(Figure::GuardedLost),
        Err(error) => {
            blame(ground, Figure::FailedListens, &format!("port {port} (inherited): {error}"));
        }
        Ok(_) => {}
    }
    server.ok()
}
