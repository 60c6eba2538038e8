//! The ports of an instance, as Services and slices name them. Pure functions.

use portolan_core::ServiceEndpoint;

use crate::objects::ServicePort;

/// The metadata entry with the port of the Service: `kubernetes.port`, or `kubernetes.port.NAME` for a named one.
const SERVICE_PORT: &str = "kubernetes.port";
/// What precedes the name of a further port in the metadata.
const NAMED: &str = "port.";
/// The name of a port whose protocol is no name.
const UNNAMED: &str = "main";
/// The limit of Kubernetes.
const MOST_PORTS: usize = 100;

/// A port of an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NamedPort {
    pub(crate) name: String,
    pub(crate) port: u16,
    /// `TCP` or `UDP`.
    pub(crate) protocol: &'static str,
    /// The protocol of the application, if it is known.
    pub(crate) application: Option<String>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortOfService {
    pub(crate) port: u16,
    pub(crate) of: NamedPort,
}

/// Returns the ports of an instance whose own port is this one at the address: that one first.
pub(super) fn named_ports(endpoint: &ServiceEndpoint, port: u16) -> Vec<NamedPort> {
    let further = endpoint.metadata.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(NAMED).filter(|name| is_label(name))?;
        Some((name, value.parse().ok().filter(|port: &u16| *port > 0)?))
    });
    let further: Vec<(&str, u16)> = further.collect();
    let own_name = further.iter().find(|(_, number)| *number == endpoint.port);
    let mut ports = vec![own(endpoint, own_name.map(|(name, _)| *name), port)];
    for (name, port) in further {
        if ports.len() < MOST_PORTS && ports.iter().all(|known| known.name != name) {
            let name = name.to_owned();
            ports.push(NamedPort { name, port, protocol: "TCP", application: None });
        }
    }
    ports
}

fn own(endpoint: &ServiceEndpoint, name: Option<&str>, port: u16) -> NamedPort {
    let protocol = endpoint.protocol.as_str().to_ascii_lowercase();
    let transport = if protocol == "udp" { "UDP" } else { "TCP" };
    let name = name.unwrap_or_else(|| if is_label(&protocol) { &protocol } else { UNNAMED });
    let is_application = protocol != "tcp" && protocol != "udp" && is_label(&protocol);
    NamedPort {
        name: name.to_owned(),
        port,
        protocol: transport,
        application: is_application.then_some(protocol),
    }
}

/// Returns the ports of a Service of these instances, each with a number of its own. A number that the Service has is kept,
/// because pods have it in their settings.
pub(super) fn ports_of_service<'a>(
    instances: impl Iterator<Item = (&'a ServiceEndpoint, &'a [NamedPort])>,
    known: &[ServicePort],
) -> Vec<PortOfService> {
    let mut ports: Vec<PortOfService> = Vec::new();
    for (endpoint, named) in instances {
        for (index, named) in named.iter().enumerate() {
            let is_new =
                ports.len() < MOST_PORTS && ports.iter().all(|it| it.of.name != named.name);
            if is_new {
                let wanted = wanted(endpoint, named, index == 0, known);
                let port = free(wanted, named.protocol, &ports);
                ports.push(PortOfService { port, of: named.clone() });
            }
        }
    }
    ports
}

fn wanted(
    endpoint: &ServiceEndpoint,
    named: &NamedPort,
    is_own: bool,
    known: &[ServicePort],
) -> u16 {
    let entry = |key: &str| endpoint.metadata.get(key)?.parse().ok().filter(|port: &u16| *port > 0);
    let given = entry(&format!("{SERVICE_PORT}.{}", named.name));
    let given = given.or_else(|| if is_own { entry(SERVICE_PORT) } else { None });
    let kept = || known.iter().find(|it| it.name == named.name).map(|it| it.port);
    let usual = || match named.application.as_deref() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    given.or_else(kept).or_else(usual).unwrap_or(named.port)
}

/// Returns the number, or the next one that no other port of the Service has.
fn free(wanted: u16, protocol: &str, taken: &[PortOfService]) -> u16 {
    let is_free =
        |port: &u16| taken.iter().all(|other| other.port != *port || other.of.protocol != protocol);
    (wanted..=u16::MAX).chain(1..wanted).find(is_free).unwrap_or(wanted)
}

/// Whether the text is the name of a port in Kubernetes: a label of DNS.
pub(super) fn is_label(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= 63
        && ends.iter().all(|end| end.is_some_and(is_alphanumeric))
        && text.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-')
}
