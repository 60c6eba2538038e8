//! The address that a check connects to: the instance's own, or one in the text of the check.

use portolan_core::{HealthReport, HealthStatus, Host, port, quoted};

use crate::Target;
use crate::reach::{ConnectError, Connected};

/// The address of a check; `None` is that of the instance.
#[derive(Debug)]
pub(super) struct CheckAddress(Option<(Host, u16)>);

// === impl CheckAddress ===

impl CheckAddress {
    /// Parses `HOST:PORT` or `//HOST:PORT`.
    pub(super) fn parse(value: Option<&str>) -> Result<Self, String> {
        let address = value.map(|value| value.strip_prefix("//").unwrap_or(value));
        Ok(Self(address.map(parse_address).transpose()?))
    }

    /// Returns the address as text.
    pub(super) fn on(&self, target: &Target) -> String {
        match &self.0 {
            Some((host, port)) => host.with_port(*port),
            None => target.endpoint.address(),
        }
    }

    /// Returns the URL of a check of this scheme for an instance at this host and port.
    pub(super) fn url(&self, scheme: &str, host: &Host, port: u16) -> String {
        let (host, port) = self.0.as_ref().map_or((host, port), |(host, port)| (host, *port));
        format!("{scheme}://{}", host.with_port(port))
    }

    /// Connects, or returns the report of a failure.
    pub(super) async fn connect(&self, target: &Target) -> Result<Connected, HealthReport> {
        let address = self.on(target);
        target.reach.connect(&address).await.map_err(|error| {
            let status = match error {
                ConnectError::OutOfReach => HealthStatus::Unknown,
                ConnectError::Failed(_) => HealthStatus::Critical,
            };
            HealthReport::new(status, format!("{address}: {error}"))
        })
    }
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
