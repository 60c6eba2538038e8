//! Children of owners: one that serves with an inherited socket, and one that inherits the lease of a
//! killed owner.

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

use crate::oracle::{Figure, Oracle, Safety};
use crate::support::copy::make_inheritable;
use crate::worker::{command, report_fault};

/// The inherited lease: port, depth, and the logical time of the grant.
const LEASE: &str = "PORTOLAN_SOAK_LEASE";
/// How long a child may take to start. Long, because many start at once.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A child that listens with the socket of a lease, which this process has closed.
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

    /// Connects to the child, which ends when the connection is closed.
    pub(crate) fn connect(&self, port: u16) -> io::Result<Option<TcpStream>> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        let mut pid = [0; 4];
        connection.read_exact(&mut pid)?;
        match u32::from_ne_bytes(pid) == self.0.id() {
            true => Ok(Some(connection)),
            false => Err(io::Error::other("another process answers")),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // No client may have connected.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Serves one client with the socket that is the standard input.
pub(crate) fn serve() {
    let connection = rustix::net::accept(io::stdin()).unwrap();
    rustix::io::write(&connection, &std::process::id().to_ne_bytes()).unwrap();
    _ = rustix::io::read(&connection, &mut [0]);
}

/// Leaves the lease to a child, and kills this process.
#[allow(clippy::zombie_processes, reason = "the child is to outlive this process")]
pub(crate) fn leave_lease_to_child(lease: &PortLease, granted: u64) -> ! {
    lease.listening_sockets().unwrap();
    make_inheritable(lease);
    let (mut here, there) = UnixStream::pair().unwrap();
    let mut heir = command("inheritor");
    heir.env(LEASE, format!("{} {} {granted}", lease.port(), lease.depth()));
    heir.stdin(Stdio::from(OwnedFd::from(there))).spawn().unwrap();
    drop(heir);
    here.read_exact(&mut [0]).unwrap();
    _ = kill_process(getpid(), Signal::KILL);
    unreachable!("killed");
}

/// Keeps the lease of the parent for a while after the parent was killed.
pub(crate) fn inherit(oracle: &Oracle) {
    let lease = env::var(LEASE).unwrap();
    let [port, depth, granted] = lease.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (port, granted) = (port.parse().unwrap(), granted.parse().unwrap());
    if let Err(pid) = oracle.inherit(port) {
        report_fault(
            oracle,
            Figure::Duplicates,
            &format!("port {port} is also inherited by process {pid}"),
        );
    }
    let is_bound = depth == Depth::Bound.as_str();
    let server = (!is_bound).then(|| listen(oracle, port, granted)).flatten();
    oracle.count(Figure::Inherited);
    // The owner holds the other end until it is killed.
    _ = rustix::io::write(io::stdin(), b"!");
    _ = io::stdin().read(&mut [0]);
    if (is_bound || server.is_some())
        && let Err(pid) = oracle.protect(port, Safety::Sealed)
    {
        let what = format!("port {port} is inherited, and process {pid} has it");
        report_fault(oracle, Figure::Duplicates, &what);
    }
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..300)));
}

fn listen(oracle: &Oracle, port: u16, granted: u64) -> Option<TcpListener> {
    let server = TcpListener::bind(("127.0.0.1", port));
    match &server {
        Err(_) if oracle.had_foreign(port, granted) => _ = oracle.count(Figure::GuardedLost),
        Err(error) => {
            report_fault(
                oracle,
                Figure::FailedListens,
                &format!("port {port} (inherited): {error}"),
            );
        }
        Ok(_) => {}
    }
    server.ok()
}
