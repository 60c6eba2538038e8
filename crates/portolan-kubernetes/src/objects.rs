//! The objects of Kubernetes, with the members that Portolan needs. Types of its own, because one type reads both versions of
//! endpoint slices, and holds a tenth of the memory.

mod endpoint_slice;
mod pod;
mod service;

pub(crate) use endpoint_slice::{Conditions, Endpoint, EndpointPort, EndpointSlice};
pub(crate) use pod::{ContainerPort, Pod};
pub(crate) use service::{Service, ServicePort};

/// The label of a slice that names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label of a slice that names the controller that owns it.
pub(crate) const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The label of an object that names the program that manages it.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label of a workload that has its version.
pub(crate) const VERSION: &str = "app.kubernetes.io/version";
/// The value of those labels of objects that Portolan has written.
pub(crate) const PORTOLAN: &str = "portolan";

/// The label of a Service that is not imported, with the value `false`.
pub(crate) const IMPORT: &str = "portolan/import";
/// The label of an object that names the exporter that has written it.
pub(crate) const EXPORTER: &str = "portolan/exporter";
/// The label of a slice whose Service has no address of its own.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// Implements the trait of a namespaced object.
macro_rules! resource {
    ($type:ty, $dynamic:ty, $scope:ty, |$dt:ident| $kind:expr, $group:expr, $version:expr, $plural:expr) => {
        impl kube::Resource for $type {
            type DynamicType = $dynamic;
            type Scope = $scope;

            fn kind($dt: &$dynamic) -> std::borrow::Cow<'_, str> {
                _ = $dt;
                $kind.into()
            }

            fn group($dt: &$dynamic) -> std::borrow::Cow<'_, str> {
                _ = $dt;
                $group.into()
            }

            fn version($dt: &$dynamic) -> std::borrow::Cow<'_, str> {
                _ = $dt;
                $version.into()
            }

            fn plural($dt: &$dynamic) -> std::borrow::Cow<'_, str> {
                _ = $dt;
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(
                &mut self,
            ) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use resource;
