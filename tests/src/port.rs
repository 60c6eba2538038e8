//! Checks who can bind a port, and who listens on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use crate::programs;

/// Wildcard and loopback addresses, IPv4 and IPv6.
const ADDRESSES: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The process name.
    pub name: String,
    /// The process id.
    pub pid: u32,
}

/// Checks that a bind without `SO_REUSEADDR` fails on every address.
///
/// # Errors
/// A bind succeeded, or failed for another reason than `EADDRINUSE`.
pub fn bind_is_refused_everywhere(port: u16) -> Result<()> {
    for address in ADDRESSES {
        match bind(address, port) {
            Err(Errno::ADDRINUSE) => {}
            Ok(_) => bail!("a foreign process bound port {port} on {address}"),
            Err(error) => bail!("{address}, port {port}: {error}"),
        }
    }
    Ok(())
}

/// Checks that the kernel never chooses the port for a bind to port 0, by binding every port of
/// the ephemeral range; that range must be small.
///
/// # Errors
/// The kernel chose the port, or had no port to choose.
pub fn is_never_an_ephemeral_port(port: u16) -> Result<()> {
    for address in ADDRESSES {
        let mut taken = Vec::new();
        while let Ok(socket) = bind(address, 0) {
            let chosen = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?.port();
            ensure!(chosen != port, "the kernel chose port {port} on {address}");
            taken.push(socket);
        }
        ensure!(!taken.is_empty(), "the kernel has no free port on {address}");
    }
    Ok(())
}

fn bind(address: IpAddr, port: u16) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(address, port))?;
    Ok(socket)
}

/// Returns the processes that listen on the TCP port.
///
/// # Errors
/// ss is not installed.
pub fn listeners(port: u16) -> Result<Vec<Listener>> {
    let ss = programs::find("ss", "iproute2")?;
    let output = Command::new(ss).args(["-Hltnp", &format!("sport = :{port}")]).output()?;
    // users:(("nginx",pid=12,fd=6),("nginx",pid=11,fd=6))
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let entries = text.split("(\"").skip(1);
    let read = |entry: &str| {
        let (name, rest) = entry.split_once('"')?;
        let (_, rest) = rest.split_once("pid=")?;
        let (pid, _) = rest.split_once(',')?;
        Some(Listener { name: name.to_owned(), pid: pid.parse().ok()? })
    };
    Ok(entries.filter_map(read).collect())
}

/// Returns the process that listens on the port; if its children share the socket, the eldest.
///
/// # Errors
/// No process listens.
pub fn listener(port: u16) -> Result<Listener> {
    let eldest = listeners(port)?.into_iter().min_by_key(|listener| listener.pid);
    eldest.with_context(|| format!("no process listens on port {port}"))
}
