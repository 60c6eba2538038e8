//! A pod.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};

use super::resource;

/// A pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pod {
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

/// What a pod is to be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    node_name: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Container {
    #[serde(default)]
    ports: Vec<ContainerPort>,
}

/// A port that a container declares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerPort {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(rename = "containerPort")]
    pub(crate) number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default)]
    pub(crate) protocol: Option<String>,
}

/// What a pod is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct PodStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default, rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(default, rename = "podIPs")]
    pod_ips: Vec<PodIp>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PodIp {
    ip: String,
}

resource!(Pod, (), NamespaceResourceScope, |dt| "Pod", "", "v1", "pods");

// === impl Pod ===

impl Pod {
    /// The node on which it runs.
    pub(crate) fn node(&self) -> Option<&str> {
        self.spec.node_name.as_deref()
    }

    /// The ports that its containers declare.
    pub(crate) fn ports(&self) -> impl Iterator<Item = &ContainerPort> {
        self.spec.containers.iter().flat_map(|container| &container.ports)
    }

    /// Its addresses, one of each family.
    pub(crate) fn addresses(&self) -> Vec<&str> {
        match self.status.pod_ips.is_empty() {
            true => self.status.pod_ip.as_deref().into_iter().collect(),
            false => self.status.pod_ips.iter().map(|address| address.ip.as_str()).collect(),
        }
    }

    /// Whether all of its containers and readiness gates are ready.
    pub(crate) fn is_ready(&self) -> bool {
        let is_ready = |it: &Condition| it.kind == "Ready" && it.status == "True";
        self.status.conditions.iter().any(is_ready)
    }

    /// Whether it was asked to end.
    pub(crate) fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

// === impl ContainerPort ===

impl ContainerPort {
    /// Whether it is a port of TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }
}
