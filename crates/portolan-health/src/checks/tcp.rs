//! Whether something accepts connections.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, HealthStatus, Host, port};
use tokio::net::TcpStream;

use super::{Check, Kind, Parsed, Subject};
use crate::InvalidCheck;
use crate::spec::short;

pub(super) const KIND: Kind = Kind { name: "tcp", forms: &["tcp", "tcp:HOST:PORT"], parse };

/// Connects, and hangs up.
#[derive(Debug)]
struct Tcp {
    /// Where, if not where the service is.
    elsewhere: Option<(Host, u16)>,
}

fn parse(rest: Option<&str>) -> Parsed {
    let address = rest.map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    let elsewhere = address.map(parse_address).transpose()?;
    Ok(Arc::new(Tcp { elsewhere }))
}

fn parse_address(address: &str) -> Result<(Host, u16), InvalidCheck> {
    let no_address = || InvalidCheck::NoAddress { text: short(&format!("tcp:{address}")) };
    let (host, port) = address.rsplit_once(':').ok_or_else(no_address)?;
    // Without brackets nobody can tell where an IPv6 address ends and its port begins.
    if host.contains(':') && !host.starts_with('[') {
        return Err(no_address());
    }
    let host = host.parse().map_err(|_| no_address())?;
    Ok((host, port::parse(port).map_err(|_| no_address())?))
}

impl Check for Tcp {
    fn look<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, HealthReport> {
        let endpoint = &subject.endpoint;
        let address = match &self.elsewhere {
            Some((host, port)) => host.with_port(*port),
            None => endpoint.address(),
        };
        connect(address).boxed()
    }

    fn url(&self, host: &Host, port: u16) -> Option<String> {
        let (host, port) = self.elsewhere.as_ref().map_or((host, port), |(h, p)| (h, *p));
        Some(format!("tcp://{}", host.with_port(port)))
    }
}

async fn connect(address: String) -> HealthReport {
    match TcpStream::connect(&address).await {
        Ok(_) => HealthReport::new(HealthStatus::Passing, format!("{address} accepts connections")),
        Err(error) => HealthReport::new(HealthStatus::Critical, format!("{address}: {error}")),
    }
}
