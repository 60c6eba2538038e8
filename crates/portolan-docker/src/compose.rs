//! The ports that a Compose project publishes: reads them from the resolved configuration, and replaces them by others.

mod config;
mod containers;
mod error;
mod port;

use std::collections::BTreeSet;

use portolan_core::{PortName, ServiceName};
use serde::{Deserialize, Serialize};

pub use config::ComposeConfig;
pub use containers::ProjectContainer;
pub use error::ComposeError;
use port::{Entry, Published};

/// A port of the host that a service publishes. TCP and UDP of one number are one port, so that they stay together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The service.
    pub service: ServiceName,
    /// The name of the port; `None` for the main one.
    pub port_name: Option<PortName>,
    /// The port of the container.
    pub target: u16,
    /// The port of the host that the file asks for.
    pub preferred: u16,
    /// Whether it is published for UDP.
    pub udp: bool,
}

/// Returns the ports of one service, one for each number of the host. Those besides the main one are named by the port of the
/// container, so that a port keeps its name when the file asks for another number.
fn ports_of(
    service: &ServiceName,
    labelled: Option<u16>,
    entries: impl Iterator<Item = Entry>,
) -> Vec<PublishedPort> {
    let mut ports: Vec<(PublishedPort, bool)> = Vec::new();
    for entry in entries {
        let Published::One(preferred) = entry.published else { continue };
        let (tcp, udp) = (entry.protocol == "tcp", entry.protocol == "udp");
        match ports.iter_mut().find(|(it, _)| it.preferred == preferred) {
            _ if !tcp && !udp => {}
            Some((port, is_tcp)) => {
                port.udp |= udp;
                *is_tcp |= tcp;
            }
            None => {
                let (service, port_name, target) = (service.clone(), None, entry.target);
                ports.push((PublishedPort { service, port_name, target, preferred, udp }, tcp));
            }
        }
    }
    let main = ports.iter().position(|(port, _)| Some(port.target) == labelled);
    let main = main.or_else(|| ports.iter().position(|(_, is_tcp)| *is_tcp)).unwrap_or(0);
    let mut taken = BTreeSet::new();
    for (index, (port, _)) in ports.iter_mut().enumerate() {
        if index != main {
            port.port_name = Some(port_name(port.target, &mut taken));
        }
    }
    ports.into_iter().map(|(port, _)| port).collect()
}

fn port_name(target: u16, taken: &mut BTreeSet<String>) -> PortName {
    let numbered = (2..).map(|count| format!("{target}-{count}"));
    let mut names = std::iter::once(target.to_string()).chain(numbered);
    let name =
        names.find(|name| taken.insert(name.clone())).expect("there is always another number");
    name.parse().expect("digits and a hyphen are a port name")
}
