//! A Service.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};

use super::resource;

/// A Service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: ServiceSpec,
}

/// What a Service is to be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    /// The address; `None` in its text if the Service has none of its own.
    #[serde(default, rename = "clusterIP")]
    pub(crate) cluster_ip: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    pub(crate) ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServicePort {
    /// The name, which connects it with the ports of slices. Only the sole port of a Service may lack one.
    #[serde(default)]
    pub(crate) name: String,
    /// The number.
    #[serde(default)]
    pub(crate) port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default)]
    protocol: Option<String>,
    /// The protocol of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app_protocol: Option<String>,
}

resource!(Service, (), NamespaceResourceScope, |dt| "Service", "", "v1", "services");
