//! The instance that an annotated pod stands for. Pure functions.

use portolan_core::endpoint::{CHECKED_BY_AGENT, DRAINING};
use portolan_core::kubernetes_name::{CLUSTER, NAMESPACE};
use portolan_core::{HealthStatus, Host, InvalidRegistration, PortName, Registration};

use super::annotations::{Declared, InvalidAnnotation};
use crate::instances::{Naming, POD};
use crate::objects::{Pod, VERSION};
use crate::registrant::{NODE, Registrant};

/// Why an annotated pod cannot be registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidPod {
    #[error(transparent)]
    Annotation(#[from] InvalidAnnotation),
    #[error(transparent)]
    Registration(#[from] InvalidRegistration),
    #[error("the scope of its namespace would be too long: use a shorter --scope-prefix")]
    Scope,
}

impl Naming {
    /// Returns the instance of a pod: none if it has no annotations of Portolan, or is not ready.
    pub(crate) fn pod_instance(&self, pod: &Pod) -> Result<Option<Registration>, InvalidPod> {
        let Some(declared) = Declared::of(pod)? else { return Ok(None) };
        let meta = &pod.metadata;
        let (Some(namespace), Some(name)) = (meta.namespace.as_deref(), meta.name.as_deref())
        else {
            return Ok(None);
        };
        let mut hosts: Vec<Host> =
            pod.addresses().into_iter().filter_map(|address| address.parse().ok()).collect();
        if !pod.is_ready() || hosts.is_empty() {
            return Ok(None);
        }
        let mut registration = Registration::new(declared.name, hosts.remove(0), declared.port);
        registration.addresses = hosts;
        // The names of Services have no dots, so no imported instance has such an id.
        let id = format!("{}:{namespace}:pod.{name}:{}", self.cluster, registration.name);
        registration.id = id.parse().ok();
        registration.scope = self.scope(namespace).ok_or(InvalidPod::Scope)?;
        registration.protocol = declared.protocol;
        let labelled = || meta.labels.as_ref()?.get(VERSION).cloned();
        registration.version = declared.version.or_else(labelled).unwrap_or_default();
        registration.metadata = declared.metadata;
        let mut put = |key: &str, value: &str| {
            registration.metadata.insert(key.to_owned(), value.to_owned());
        };
        for port in pod.ports() {
            if let Ok(name) = port.name.parse::<PortName>() {
                put(&format!("port.{name}"), &port.number.to_string());
            }
        }
        let (key, value) = CHECKED_BY_AGENT;
        put(key, value);
        if pod.is_terminating() {
            let (key, value) = DRAINING;
            put(key, value);
        }
        put(CLUSTER, self.cluster.as_str());
        put(NAMESPACE, namespace);
        put(POD, name);
        if let Some(node) = pod.node() {
            put(NODE, node);
        }
        Registrant::mark_pod(&mut registration.metadata);
        registration.incarnation = Some(self.incarnation());
        registration.initial_health = Some(HealthStatus::Passing);
        registration.ttl = Some(self.ttl);
        registration.validate()?;
        Ok(Some(registration))
    }
}

#[cfg(test)]
mod tests;
