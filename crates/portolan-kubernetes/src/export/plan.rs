//! The objects that show a service in a cluster. Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_core::{ServiceEndpoint, fnv1a};
use serde_json::{Value, json};

use crate::objects::{
    Conditions, EXPORTER, EndpointSlice, HEADLESS, MANAGED_BY, PORTOLAN, SERVICE_NAME,
    SLICE_MANAGED_BY, Service,
};

use super::offer::Offer;
use super::ports::{NamedPort, PortOfService, ports_of_service};
use super::slices::distribute;

/// Who writes the objects, and how.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    /// The name of the exporter, which is a label of its objects.
    pub(crate) name: String,
    /// Whether Services have no address of their own.
    pub(crate) headless: bool,
}

/// An instance and what pods can reach of it.
pub(crate) type Offered = (Arc<ServiceEndpoint>, Vec<Offer>);

/// The endpoints that may be in one slice: of one family, with the same ports.
type Group<'a> = (&'static str, &'a [NamedPort]);

// === impl Writer ===

impl Writer {
    /// Returns the members of a Service that this program sets. The Service may be there already.
    pub(crate) fn service(
        &self,
        name: &str,
        offered: &[Offered],
        known: Option<&Service>,
    ) -> Value {
        let instances = offered
            .iter()
            .flat_map(|(endpoint, offers)| offers.iter().map(|offer| (&**endpoint, &*offer.ports)));
        let known = known.map_or(&[][..], |service| &service.spec.ports);
        let ports = ports_of_service(instances, known);
        let mut spec = json!({
            "type": "ClusterIP",
            "ports": ports.iter().map(port_of_service).collect::<Vec<_>>(),
        });
        if self.headless {
            spec["clusterIP"] = json!("None");
        }
        let labels = json!({ MANAGED_BY: PORTOLAN, EXPORTER: self.name });
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
        })
    }

    /// Returns the slices of a Service by their names. Those that are there keep their endpoints as far as possible.
    pub(crate) fn slices<'a>(
        &self,
        service: (&str, &str),
        version: &str,
        offered: &[Offered],
        known: impl Iterator<Item = &'a EndpointSlice>,
    ) -> BTreeMap<String, Value> {
        let known: Vec<&EndpointSlice> = known.collect();
        let mut slices = BTreeMap::new();
        for ((family, ports), endpoints) in grouped(offered) {
            let prefix = self.prefix(service.0, family, ports);
            let addresses: BTreeSet<IpAddr> = endpoints.keys().copied().collect();
            let spread = distribute(&prefix, &addresses, &members(&known, &prefix));
            for (name, members) in spread {
                let endpoints = members.iter().map(|it| endpoint(*it, endpoints[it]));
                let slice = json!({
                    "apiVersion": version, "kind": "EndpointSlice",
                    "metadata": {
                        "name": name, "labels": self.labels(service.0), "ownerReferences": [owner(service)],
                    },
                    "addressType": family,
                    "endpoints": endpoints.collect::<Vec<_>>(),
                    "ports": ports.iter().map(port_of_slice).collect::<Vec<_>>(),
                });
                slices.insert(name, slice);
            }
        }
        slices
    }

    /// Whether the object is one of this exporter.
    pub(crate) fn owns(&self, labels: Option<&BTreeMap<String, String>>, manager: &str) -> bool {
        exporter_of(labels, manager).is_some_and(|exporter| exporter == self.name)
    }

    fn labels(&self, service: &str) -> Value {
        let mut labels = json!({
            SERVICE_NAME: service, SLICE_MANAGED_BY: PORTOLAN, EXPORTER: self.name,
        });
        if self.headless {
            labels[HEADLESS] = json!("");
        }
        labels
    }

    /// What the names of the slices of a group begin with. Exporters have different ones, as they may have Services of one name
    /// one after the other.
    fn prefix(&self, service: &str, family: &str, ports: &[NamedPort]) -> String {
        let text = format!("{}/{family}/{ports:?}", self.name);
        // Half of the hash is enough to tell the groups of one Service from each other.
        format!("{service}-{:08x}-", fnv1a(text.bytes()) >> 32)
    }
}

/// Returns the exporter of an object that Portolan has written.
pub(crate) fn exporter_of<'a>(
    labels: Option<&'a BTreeMap<String, String>>,
    manager: &str,
) -> Option<&'a str> {
    let labels = labels.filter(|it| it.get(manager).is_some_and(|value| value == PORTOLAN))?;
    labels.get(EXPORTER).map(String::as_str)
}

fn grouped(offered: &[Offered]) -> BTreeMap<Group<'_>, BTreeMap<IpAddr, Conditions>> {
    let mut groups: BTreeMap<Group<'_>, BTreeMap<IpAddr, Conditions>> = BTreeMap::new();
    for offer in offered.iter().flat_map(|(_, offers)| offers) {
        let family = if offer.address.is_ipv4() { "IPv4" } else { "IPv6" };
        let group = groups.entry((family, &offer.ports)).or_default();
        // Two instances at one address and port are one server, which is ready if either says so.
        let known = group.entry(offer.address).or_insert(offer.conditions);
        if known.ready != Some(true) {
            *known = offer.conditions;
        }
    }
    groups
}

fn members(known: &[&EndpointSlice], prefix: &str) -> BTreeMap<String, Vec<IpAddr>> {
    let members = known.iter().filter_map(|slice| {
        let name = slice.metadata.name.as_ref().filter(|name| name.starts_with(prefix))?;
        let first = slice.endpoints.iter().filter_map(|it| it.addresses.first());
        Some((name.clone(), first.filter_map(|it| it.parse().ok()).collect()))
    });
    members.collect()
}

fn owner((name, uid): (&str, &str)) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "name": name, "uid": uid, "controller": true})
}

fn endpoint(address: IpAddr, conditions: Conditions) -> Value {
    json!({"addresses": [address], "conditions": conditions})
}

fn port_of_service(port: &PortOfService) -> Value {
    let mut object = port_of_slice(&port.of);
    object["port"] = json!(port.port);
    object
}

fn port_of_slice(port: &NamedPort) -> Value {
    json!({
        "name": port.name, "port": port.port, "protocol": port.protocol, "appProtocol": port.application,
    })
}

#[cfg(test)]
mod tests;
