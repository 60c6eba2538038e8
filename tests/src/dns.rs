//! A real DNS server: dnsmasq with the records that a test defines.

use std::net::TcpStream;
use std::process::Command;

use anyhow::Result;

use crate::env::TestEnv;
use crate::process::Process;
use crate::programs;

/// The domain that the server is authoritative for; other names in it do not exist.
pub const DOMAIN: &str = "portolan.test";

/// A running DNS server on loopback.
#[derive(Debug)]
pub struct Dns {
    port: u16,
    _server: Process,
}

// === impl Dns ===

impl Dns {
    /// Starts a server on 127.0.0.1 with an SRV record for each service, `_NAME._tcp.DOMAIN`, that
    /// points to a host in the domain whose address is 127.0.0.1.
    ///
    /// # Errors
    /// dnsmasq is not installed, ends, or does not answer.
    pub fn start(env: &TestEnv, port: u16, services: &[(&str, u16)]) -> Result<Self> {
        let mut command = Command::new(programs::find("dnsmasq", "dnsmasq-base")?);
        command
            .args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file="])
            .args([format!("--port={port}"), format!("--local=/{DOMAIN}/")])
            .arg(format!("--host-record=host.{DOMAIN},127.0.0.1"));
        for (service, service_port) in services {
            let target = format!("_{service}._tcp.{DOMAIN},host.{DOMAIN},{service_port},10,10");
            command.arg(format!("--srv-host={target}"));
        }
        let mut server = env.spawn("dnsmasq", command)?;
        // dnsmasq opens its TCP and UDP sockets together.
        server.wait_until("dnsmasq to listen", || Ok(TcpStream::connect(("127.0.0.1", port))?))?;
        Ok(Self { port, _server: server })
    }

    /// Starts a server on port 53 of this loopback address with these options of dnsmasq, and makes it the
    /// name server of the test, with this search list.
    ///
    /// # Errors
    /// dnsmasq is not installed, ends, or does not answer.
    pub fn of_system(
        env: &TestEnv,
        address: &str,
        search: &str,
        options: &[&str],
    ) -> Result<Process> {
        let mut command = Command::new(programs::find("dnsmasq", "dnsmasq-base")?);
        command
            .args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"])
            .args(["--bind-interfaces", "--pid-file=", &format!("--listen-address={address}")])
            .args(options);
        let mut server = env.spawn("dnsmasq", command)?;
        server.wait_until("dnsmasq to listen", || Ok(TcpStream::connect((address, 53))?))?;
        let search = if search.is_empty() { String::new() } else { format!("search {search}\n") };
        env.replace_file("/etc/resolv.conf", &format!("{search}nameserver {address}\n"))?;
        Ok(server)
    }

    /// Returns the server's address as `ADDRESS:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
