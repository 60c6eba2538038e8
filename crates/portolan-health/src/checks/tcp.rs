//! The TCP check: passing if a connection is accepted.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, HealthStatus, Host, port, quoted};

use crate::reach::ConnectError;
use crate::{Check, CheckInput, CheckKind, CheckReach, Target};

pub(super) const KIND: CheckKind = CheckKind {
    name: "tcp",
    forms: &["tcp", "tcp:HOST:PORT"],
    url_form: Some("tcp://HOST:PORT"),
    options: &[],
    parse,
};

/// Connects and closes the connection.
#[derive(Debug)]
struct Tcp {
    /// The address to connect to, if it is not the instance's own.
    address: Option<(Host, u16)>,
}

fn parse(input: &mut CheckInput<'_>) -> Result<Arc<dyn Check>, String> {
    let address = input.value.map(|value| value.strip_prefix("//").unwrap_or(value));
    let address = address.map(parse_address).transpose()?;
    Ok(Arc::new(Tcp { address }))
}

fn parse_address(address: &str) -> Result<(Host, u16), String> {
    let invalid = || format!("{} is not a host and a port", quoted(address));
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    // An IPv6 address without brackets has no unambiguous end.
    if host.contains(':') && !host.starts_with('[') {
        return Err(invalid());
    }
    let host = host.parse().map_err(|_| invalid())?;
    Ok((host, port::parse(port).map_err(|_| invalid())?))
}

impl Check for Tcp {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        let address = match &self.address {
            Some((host, port)) => host.with_port(*port),
            None => target.endpoint.address(),
        };
        connect(address, &target.reach).boxed()
    }

    fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        let (host, port) = self.address.as_ref().map_or((host, port), |(host, port)| (host, *port));
        Some(format!("tcp://{}", host.with_port(port)))
    }
}

async fn connect(address: String, reach: &CheckReach) -> HealthReport {
    match reach.connect(&address).await {
        Ok(_) => HealthReport::new(HealthStatus::Passing, format!("{address} accepts connections")),
        Err(error @ ConnectError::OutOfReach) => {
            HealthReport::new(HealthStatus::Unknown, format!("{address}: {error}"))
        }
        Err(error) => HealthReport::new(HealthStatus::Critical, format!("{address}: {error}")),
    }
}
