//! Instances as templates see them.

use std::collections::{BTreeMap, BTreeSet};

use portolan_core::plain::escaped_line;
use portolan_core::schemes::checked_url;
use portolan_core::{HealthStatus, Protocol, ServiceEndpoint};
use serde::Serialize;

/// What begins the metadata key of a further port.
const PORT_KEY: &str = "port.";

/// An instance as a template sees it. Text that its registrant chose has no control character, so that it cannot begin a line of
/// its own in the output.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scope: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The host and the port, with an IPv6 address in brackets.
    pub(crate) address: String,
    pub(crate) protocol: String,
    /// Without one for a scheme that is not given to programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    pub(crate) version: String,
    pub(crate) health: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Further ports by their names.
    pub(crate) ports: BTreeMap<String, u16>,
}

/// The instances of a service that callers may use, the best first: all that are neither critical nor draining. If there are none, those that
/// are not draining, then all, as in a lookup.
pub(crate) fn usable(
    endpoints: &[ServiceEndpoint],
    url_schemes: &BTreeSet<Protocol>,
) -> Vec<Instance> {
    let rank = |endpoint: &ServiceEndpoint| {
        (endpoint.is_draining(), endpoint.health == HealthStatus::Critical)
    };
    let best = endpoints.iter().map(rank).min();
    let chosen = endpoints.iter().filter(|endpoint| Some(rank(endpoint)) == best);
    chosen.map(|endpoint| Instance::new(endpoint, url_schemes)).collect()
}

/// Orders instances so that the output is the same whatever the order in which they were found.
pub(crate) fn in_order_of_address(mut instances: Vec<Instance>) -> Vec<Instance> {
    instances.sort_by(|one, other| {
        (&one.host, one.port, &one.id).cmp(&(&other.host, other.port, &other.id))
    });
    instances
}

// === impl Instance ===

impl Instance {
    fn new(endpoint: &ServiceEndpoint, url_schemes: &BTreeSet<Protocol>) -> Self {
        let text = |text: &str| escaped_line(text).into_owned();
        let entries = endpoint.metadata.iter();
        let metadata: BTreeMap<_, _> =
            entries.map(|(key, value)| (text(key), text(value))).collect();
        let ports = metadata.iter().filter_map(|(key, value)| {
            Some((key.strip_prefix(PORT_KEY)?.to_owned(), value.parse().ok()?))
        });
        Self {
            id: text(endpoint.id.as_str()),
            name: endpoint.name.to_string(),
            scope: endpoint.scope.to_string(),
            host: endpoint.host.to_string(),
            port: endpoint.port,
            address: endpoint.address(),
            protocol: endpoint.protocol.to_string(),
            url: checked_url(endpoint, url_schemes).ok(),
            version: text(&endpoint.version),
            health: endpoint.health.to_string(),
            ports: ports.collect(),
            metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::{Host, Registration, Ttl};

    use super::*;

    fn endpoint(port: u16, health: HealthStatus, draining: bool) -> ServiceEndpoint {
        let mut registration = Registration::new("api".parse().unwrap(), Host::loopback(), port);
        if draining {
            let (key, value) = portolan_core::endpoint::DRAINING;
            registration.metadata.insert(key, value);
        }
        let endpoint = registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH);
        ServiceEndpoint { health, ..endpoint }
    }

    #[test]
    fn draining_instances_are_left_out_while_there_are_others() {
        use HealthStatus::{Critical, Passing, Unknown};
        let ports = |endpoints: &[ServiceEndpoint]| {
            let usable = usable(endpoints, &BTreeSet::new());
            usable.into_iter().map(|instance| instance.port).collect::<Vec<_>>()
        };
        let (passing, unknown) = (endpoint(1, Passing, false), endpoint(2, Unknown, false));
        let (critical, draining) = (endpoint(3, Critical, false), endpoint(4, Passing, true));
        let all = [draining.clone(), passing, critical.clone(), unknown];
        assert_eq!(ports(&all), [1, 2]);
        assert_eq!(ports(&[draining.clone(), critical]), [3]);
        assert_eq!(ports(&[draining]), [4]);
        assert_eq!(ports(&[]), Vec::<u16>::new());
    }
}
