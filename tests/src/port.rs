//! What strangers, and the kernel, can and cannot do with a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use crate::programs;

/// Every way to name an address of this host that matters: all and one, IPv4 and IPv6.
const ADDRESSES: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Its id.
    pub pid: u32,
}

/// Makes sure that a stranger who binds without `SO_REUSEADDR` is refused on every address.
///
/// # Errors
/// One was not.
pub fn bind_is_refused_everywhere(port: u16) -> Result<()> {
    for address in ADDRESSES {
        match bind(address, port) {
            Err(Errno::ADDRINUSE) => {}
            Ok(_) => bail!("a stranger took port {port} on {address}"),
            Err(error) => bail!("{address}, port {port}: {error}"),
        }
    }
    Ok(())
}

/// Makes sure that the kernel gives the port to nobody who binds any port, by taking all that it
/// gives; the range that it chooses from is to be a small one.
///
/// # Errors
/// It did, or has no port at all to give.
pub fn is_never_an_ephemeral_port(port: u16) -> Result<()> {
    for address in ADDRESSES {
        let mut taken = Vec::new();
        while let Ok(socket) = bind(address, 0) {
            let chosen = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?.port();
            ensure!(chosen != port, "the kernel chose port {port} on {address}");
            taken.push(socket);
        }
        ensure!(!taken.is_empty(), "the kernel has no port to give on {address}");
    }
    Ok(())
}

fn bind(address: IpAddr, port: u16) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
    Ok(socket)
}

/// The processes that listen on the port in TCP.
///
/// # Errors
/// ss is not installed.
pub fn listeners(port: u16) -> Result<Vec<Listener>> {
    let ss = programs::find("ss", "iproute2")?;
    let output = Command::new(ss).args(["-Hltnp", &format!("sport = :{port}")]).output()?;
    // users:(("nginx",pid=12,fd=6),("nginx",pid=11,fd=6))
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let entries = said.split("(\"").skip(1);
    let read = |entry: &str| {
        let (name, rest) = entry.split_once('"')?;
        let (_, rest) = rest.split_once("pid=")?;
        let (pid, _) = rest.split_once(',')?;
        Some(Listener { name: name.to_owned(), pid: pid.parse().ok()? })
    };
    Ok(entries.filter_map(read).collect())
}

/// The one process that listens on the port, or that whose children listen with it.
///
/// # Errors
/// Nobody listens.
pub fn listener(port: u16) -> Result<Listener> {
    let eldest = listeners(port)?.into_iter().min_by_key(|listener| listener.pid);
    eldest.with_context(|| format!("nobody listens on port {port}"))
}
