//! Names of Services of Kubernetes, in the forms that its DNS has.

use crate::{Scope, ServiceName};

/// The metadata entry of an instance that comes from a cluster: the name of the cluster.
pub const CLUSTER: &str = "kubernetes.cluster";
/// The metadata entry of an instance that comes from a cluster: the namespace of its Service.
pub const NAMESPACE: &str = "kubernetes.namespace";

/// The name of a Service: `web`, `web.shop`, `web.shop.svc` or `web.shop.svc.cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesName {
    /// The Service.
    pub service: ServiceName,
    /// The namespace; `None` if the name does not say it.
    pub namespace: Option<Scope>,
}

// === impl KubernetesName ===

impl KubernetesName {
    /// Reads a name; `None` if no Service can have it.
    pub fn parse(name: &ServiceName) -> Option<Self> {
        let mut labels = name.as_str().split('.');
        let service = labels.next().filter(|label| is_label(label))?;
        let service = service.parse().ok()?;
        let Some(namespace) = labels.next() else {
            return Some(Self { service, namespace: None });
        };
        let namespace = Some(namespace).filter(|label| is_label(label))?.parse().ok()?;
        let is_qualified = labels.next().is_none_or(|label| label == "svc") && labels.all(is_label);
        is_qualified.then_some(Self { service, namespace: Some(namespace) })
    }
}

/// Whether the text is a label of DNS (RFC 1123).
fn is_label(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, last) = (text.bytes().next(), text.bytes().next_back());
    text.len() <= 63
        && first.is_some_and(is_alphanumeric)
        && last.is_some_and(is_alphanumeric)
        && text.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_name_is_read() {
        let parse = |name: &str| KubernetesName::parse(&name.parse().unwrap());
        let named = |service: &str, namespace: Option<&str>| {
            let namespace = namespace.map(|namespace| namespace.parse().unwrap());
            Some(KubernetesName { service: service.parse().unwrap(), namespace })
        };
        assert_eq!(parse("web"), named("web", None));
        for name in ["web.shop", "Web.Shop.svc", "web.shop.svc.cluster.local", "web.shop.svc.a."] {
            assert_eq!(parse(name), named("web", Some("shop")), "{name}");
        }
        for name in ["web.shop.pod", "web_1", "web.shop.cluster.local", "web-", "web.shop.svc.a_b"]
        {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
