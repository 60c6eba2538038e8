//! An EndpointSlice, in both versions of its API.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope, GroupVersionKind};
use serde::{Deserialize, Deserializer, Serialize};

use super::resource;

/// A part of the endpoints of a Service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointSlice {
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) address_type: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) endpoints: Vec<Endpoint>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) ports: Vec<EndpointPort>,
}

/// An endpoint: a pod, or a host outside the cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
    #[serde(default)]
    pub(crate) conditions: Conditions,
    #[serde(default)]
    pub(crate) target_ref: Option<TargetRef>,
    #[serde(default)]
    node_name: Option<String>,
    #[serde(default)]
    zone: Option<String>,
    /// The node and the zone in `v1beta1`.
    #[serde(default, deserialize_with = "null_is_empty")]
    topology: BTreeMap<String, String>,
}

/// Whether an endpoint can be used. A member that is missing is unknown, which counts as ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    #[serde(default)]
    pub(crate) ready: Option<bool>,
    #[serde(default)]
    pub(crate) serving: Option<bool>,
    #[serde(default)]
    pub(crate) terminating: Option<bool>,
}

/// The object behind an endpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct TargetRef {
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) name: String,
}

/// A port of all endpoints of a slice.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointPort {
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) name: String,
    /// `None` means every port.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default)]
    pub(crate) protocol: Option<String>,
    #[serde(default)]
    pub(crate) app_protocol: Option<String>,
}

resource!(
    EndpointSlice,
    ApiResource,
    DynamicResourceScope,
    |dt| dt.kind.as_str(),
    dt.group.as_str(),
    dt.version.as_str(),
    dt.plural.as_str()
);

// === impl EndpointSlice ===

impl EndpointSlice {
    pub(crate) const GROUP: &str = "discovery.k8s.io";

    /// Returns the resource in this version.
    pub(crate) fn resource(version: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk(Self::GROUP, version, "EndpointSlice");
        ApiResource::from_gvk_with_plural(&kind, "endpointslices")
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// The node on which it runs.
    pub(crate) fn node(&self) -> Option<&str> {
        self.node_name.as_deref().or_else(|| self.topology("kubernetes.io/hostname"))
    }

    /// The zone in which it runs.
    pub(crate) fn zone(&self) -> Option<&str> {
        self.zone.as_deref().or_else(|| self.topology("topology.kubernetes.io/zone"))
    }

    fn topology(&self, key: &str) -> Option<&str> {
        self.topology.get(key).map(String::as_str)
    }
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}
