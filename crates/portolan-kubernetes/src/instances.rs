//! The instances that a Service and its slices stand for. Pure functions.

use std::collections::BTreeMap;

use portolan_core::endpoint::{CHECKED_BY_AGENT, DRAINING};
use portolan_core::kubernetes_name::{CLUSTER, NAMESPACE};
use portolan_core::{
    HealthStatus, Host, Incarnation, Metadata, PortName, Protocol, Registration, Scope, ServiceId,
    Ttl, fnv1a,
};

use crate::objects::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, IMPORT, MANAGED_BY, PORTOLAN,
    SLICE_MANAGED_BY, Service, VERSION,
};
use crate::registrant::NODE;

/// The protocols that the name of a port may say, as `http` or `http-admin`.
const NAMED_PROTOCOLS: [&str; 3] = ["http", "https", "grpc"];

/// The metadata entry with the pod of an instance.
pub(crate) const POD: &str = "kubernetes.pod";

/// How the objects of a cluster are named in the registry.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    /// The name of the cluster.
    pub(crate) cluster: Scope,
    /// What precedes a namespace in its scope.
    pub(crate) scope_prefix: String,
    /// The lease of each instance.
    pub(crate) ttl: Ttl,
}

/// Whether an endpoint is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// It still serves what it has begun, and will end.
    Draining,
    NotReady,
}

// === impl Naming ===

impl Naming {
    /// The incarnation of what is registered for the cluster. It is the same for every run and replica, because all of them
    /// register the same: none fences another.
    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation::new(fnv1a(format!("portolan-kubernetes/{}", self.cluster).bytes()))
    }

    /// The scope of a namespace; `None` if the prefix makes it too long.
    pub(crate) fn scope(&self, namespace: &str) -> Option<Scope> {
        format!("{}{namespace}", self.scope_prefix).parse().ok()
    }

    /// Returns the instances of a Service by their ids. Endpoints that are not ready have none.
    pub(crate) fn instances<'a>(
        &self,
        service: &Service,
        slices: impl Iterator<Item = &'a EndpointSlice>,
    ) -> BTreeMap<ServiceId, Registration> {
        let mut instances = BTreeMap::new();
        if is_own(service.metadata.labels.as_ref(), MANAGED_BY) || is_left_out(service) {
            return instances;
        }
        for slice in slices {
            if is_own(slice.metadata.labels.as_ref(), SLICE_MANAGED_BY) {
                continue;
            }
            let ports = usable_ports(service, &slice.ports);
            for endpoint in &slice.endpoints {
                if let Some(instance) = self.instance(service, endpoint, &ports) {
                    add(&mut instances, instance);
                }
            }
        }
        instances
    }

    fn instance(
        &self,
        service: &Service,
        endpoint: &Endpoint,
        ports: &[&EndpointPort],
    ) -> Option<Registration> {
        let readiness = readiness(endpoint.conditions);
        if readiness == Readiness::NotReady {
            return None;
        }
        let namespace = service.metadata.namespace.as_deref()?;
        let name = service.metadata.name.as_deref()?;
        let (first, _) = ports.split_first()?;
        // The addresses of one endpoint are interchangeable, and consumers use the first one.
        let host: Host = endpoint.addresses.first()?.parse().ok()?;
        let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod");
        let unique = target.map_or_else(|| host.to_string(), |target| target.name.clone());
        let id = format!("{}:{namespace}:{name}:{unique}", self.cluster).parse().ok()?;
        let mut registration = Registration::new(name.parse().ok()?, host, first.port?);
        registration.id = Some(id);
        registration.scope = self.scope(namespace)?;
        registration.protocol = protocol(service, first);
        registration.version = label(service, VERSION).unwrap_or_default().to_owned();
        registration.metadata = metadata(endpoint, ports, readiness);
        let mut put = |key: &str, value: &str| {
            registration.metadata.insert(key.to_owned(), value.to_owned());
        };
        put(CLUSTER, self.cluster.as_str());
        put(NAMESPACE, namespace);
        if let Some(target) = target {
            put(POD, &target.name);
        }
        registration.incarnation = Some(self.incarnation());
        registration.initial_health = Some(HealthStatus::Passing);
        registration.ttl = Some(self.ttl);
        registration.validate().ok()?;
        Some(registration)
    }
}

/// Adds an instance. A pod with addresses of two families is in two slices, and is one instance.
fn add(instances: &mut BTreeMap<ServiceId, Registration>, new: Registration) {
    let id = new.id();
    match instances.get_mut(&id) {
        None => _ = instances.insert(id, new),
        Some(known) if known.host == new.host => known.metadata.extend(new.metadata),
        Some(known) => {
            if !known.addresses.contains(&new.host) {
                known.addresses.push(new.host);
            }
        }
    }
}

/// Returns the ports that have a number, in the order of the Service: its first one is the port of the instance.
fn usable_ports<'a>(service: &Service, ports: &'a [EndpointPort]) -> Vec<&'a EndpointPort> {
    let order = |port: &&EndpointPort| {
        let names = service.spec.ports.iter().map(|port| &port.name);
        names.into_iter().position(|name| *name == port.name).unwrap_or(usize::MAX)
    };
    let mut ports: Vec<_> =
        ports.iter().filter(|it| it.port.is_some_and(|port| port > 0)).collect();
    ports.sort_by_key(order);
    ports
}

fn readiness(conditions: Conditions) -> Readiness {
    let ready = conditions.ready.unwrap_or(true);
    let terminating = conditions.terminating.unwrap_or(false);
    match (ready, terminating) {
        (true, false) => Readiness::Ready,
        // A Service that publishes endpoints that are not ready.
        (true, true) => Readiness::Draining,
        (false, true) if conditions.serving == Some(true) => Readiness::Draining,
        (false, _) => Readiness::NotReady,
    }
}

fn protocol(service: &Service, port: &EndpointPort) -> Protocol {
    let of_service = service.spec.ports.iter().find(|it| it.name == port.name);
    let application = port.app_protocol.as_ref().or_else(|| of_service?.app_protocol.as_ref());
    // `kubernetes.io/h2c` is no scheme of a URL.
    let application = application.and_then(|text| text.to_ascii_lowercase().parse().ok());
    application.unwrap_or_else(|| protocol_by_name(&port.name, port.protocol.as_deref()))
}

/// The protocol that the name of a port says, else its transport.
pub(crate) fn protocol_by_name(name: &str, transport: Option<&str>) -> Protocol {
    let prefix = name.split('-').next().filter(|prefix| NAMED_PROTOCOLS.contains(prefix));
    let transport = transport.unwrap_or("TCP").to_ascii_lowercase();
    prefix.unwrap_or(&transport).parse().unwrap_or_default()
}

fn metadata(endpoint: &Endpoint, ports: &[&EndpointPort], readiness: Readiness) -> Metadata {
    let mut metadata = Metadata::new();
    let mut put = |key: &str, value: &str| {
        metadata.insert(key.to_owned(), value.to_owned());
    };
    let (key, value) = CHECKED_BY_AGENT;
    put(key, value);
    if readiness == Readiness::Draining {
        let (key, value) = DRAINING;
        put(key, value);
    }
    for port in ports {
        if let (Ok(name), Some(number)) = (port.name.parse::<PortName>(), port.port) {
            put(&format!("port.{name}"), &number.to_string());
        }
    }
    for (key, value) in [(NODE, endpoint.node()), ("zone", endpoint.zone())] {
        if let Some(value) = value {
            put(key, value);
        }
    }
    metadata
}

/// Whether somebody has said that the Service is not to be imported, as one whose pods are registered otherwise.
fn is_left_out(service: &Service) -> bool {
    label(service, IMPORT) == Some("false")
}

fn label<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    service.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whether the object was written by Portolan: what comes from the registry does not go back.
fn is_own(labels: Option<&BTreeMap<String, String>>, key: &str) -> bool {
    labels.and_then(|labels| labels.get(key)).is_some_and(|manager| manager == PORTOLAN)
}

#[cfg(test)]
mod tests;
