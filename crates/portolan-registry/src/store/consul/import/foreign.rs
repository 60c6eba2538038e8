//! An instance of Consul's catalogue as an endpoint. Without I/O.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portolan_consul::{ConsulCheck, ConsulCheckStatus, ConsulInstance};
use portolan_core::{
    HealthStatus, Host, Protocol, Registration, ServiceEndpoint, ServiceId, ServiceName, Source,
    Ttl, fnv1a,
};

use crate::store::decide::{CONSUL_NODE, CONSUL_SERVICE, one_line};

const TAGS: &str = "consul-tags";

/// Returns an instance as an endpoint; `None` if it is none for Portolan: it has no port, it is a proxy of a mesh, its
/// name has characters that Portolan's names do not have, or it is at an address of loopback of another machine.
pub(super) fn endpoint(instance: &ConsulInstance) -> Option<ServiceEndpoint> {
    let (node, service) = (&instance.node, &instance.service);
    if !service.kind.is_empty() {
        return None;
    }
    let address = if service.address.is_empty() { &node.address } else { &service.address };
    let host: Host = address.parse().ok()?;
    let is_alone = node.address.parse::<Host>().is_ok_and(|host| host.is_loopback());
    if host.is_loopback() && !is_alone {
        return None;
    }
    let name: ServiceName = service.service.parse().ok()?;
    let mut registration = Registration::new(name, host, u16::try_from(service.port).ok()?);
    registration.id = Some(id(&node.node, &service.id)?);
    registration.ttl = Ttl::new(Ttl::MAX).ok();
    let meta = service.meta.clone().unwrap_or_default();
    registration.version = meta.get("version").cloned().unwrap_or_default();
    if let Some(protocol) = meta.get("protocol").and_then(|it| it.parse::<Protocol>().ok()) {
        registration.protocol = protocol;
    }
    registration.metadata = metadata(instance, meta).into();
    registration.validate().ok()?;
    let now = Timestamp::now();
    let mut endpoint = registration.into_endpoint(Ttl::DEFAULT, now);
    endpoint.source = Source::Consul;
    (endpoint.health, endpoint.health_reason) = health(&instance.checks);
    Some(endpoint)
}

/// The id `consul:NODE:SERVICE`. Characters that ids do not have are replaced; a hash keeps such ids apart.
fn id(node: &str, service: &str) -> Option<ServiceId> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let all = format!("{node}:{service}");
    let plain: String =
        all.chars().map(|c| if is_plain(c) || c == ':' { c } else { '_' }).collect();
    let is_exact = plain == all && node.chars().all(is_plain);
    let text = match is_exact {
        true => format!("consul:{plain}"),
        false => format!("consul:{plain}:{:08x}", fnv1a(format!("{node}\0{service}").bytes())),
    };
    text.parse().ok()
}

fn metadata(instance: &ConsulInstance, meta: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut metadata = meta;
    // What Portolan itself gives a meaning to.
    metadata.retain(|key, _| !["scope", "checked_by", "version", "protocol"].contains(&&**key));
    metadata.insert(CONSUL_NODE.to_owned(), instance.node.node.clone());
    metadata.insert(CONSUL_SERVICE.to_owned(), instance.service.id.clone());
    let tags = instance.service.tags.iter().flatten();
    let tags = tags.map(String::as_str).collect::<Vec<_>>().join(",");
    if !tags.is_empty() {
        metadata.insert(TAGS.to_owned(), tags);
    }
    let is_valid = |text: &str, limit| text.len() <= limit && !text.chars().any(char::is_control);
    metadata.retain(|key, value| !key.is_empty() && is_valid(key, 128) && is_valid(value, 4096));
    // The entries that say where it is registered come first.
    while metadata.len() > 64 {
        let last = metadata.keys().rfind(|key| !key.starts_with("consul-")).cloned();
        let Some(last) = last else { break };
        metadata.remove(&last);
    }
    metadata
}

/// The worst of the checks, of the instance and of its node. Without any check nothing is known.
fn health(checks: &[ConsulCheck]) -> (HealthStatus, String) {
    let status = |check: &&ConsulCheck| check.status.unwrap_or(ConsulCheckStatus::Critical);
    let Some(worst) = checks.iter().max_by_key(|check| {
        // Of two with the same status, that of the instance.
        (status(check), !check.service_name.is_empty())
    }) else {
        return (HealthStatus::Unknown, String::new());
    };
    let health = match status(&worst) {
        ConsulCheckStatus::Passing => HealthStatus::Passing,
        ConsulCheckStatus::Warning => HealthStatus::Warning,
        ConsulCheckStatus::Critical => HealthStatus::Critical,
    };
    let reason = match worst.output.trim() {
        "" => worst.name.clone(),
        output => format!("{}: {output}", worst.name),
    };
    (health, one_line(&reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instance(json: serde_json::Value) -> ConsulInstance {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn instance_is_shown_with_the_worst_health_and_where_it_is_registered() {
        let endpoint = endpoint(&instance(serde_json::json!({
            "Node": { "Node": "web-1", "Address": "10.0.0.7" },
            "Service": {
                "ID": "api-1", "Service": "API", "Address": "", "Port": 8080, "Tags": ["a", "b"],
                "Meta": { "version": "2", "protocol": "http", "zone": "z", "scope": "x" },
            },
            "Checks": [
                { "Name": "Serf", "Status": "passing", "Output": "alive", "ServiceName": "" },
                { "Name": "HTTP", "Status": "critical", "Output": "refused\n", "ServiceName": "API" },
            ],
        })));
        let mut json = serde_json::to_value(endpoint.unwrap()).unwrap();
        for time in ["registered_at", "last_heartbeat"] {
            json.as_object_mut().unwrap().remove(time);
        }
        insta::assert_json_snapshot!(json);
    }

    #[test]
    fn what_is_no_endpoint_is_left_out() {
        let with = |node: &str, key: &str, value: serde_json::Value| {
            let mut json = serde_json::json!({
                "Node": { "Node": "n", "Address": node },
                "Service": { "ID": "x", "Service": "x", "Address": "", "Port": 1 },
            });
            json["Service"][key] = value;
            endpoint(&instance(json)).is_some()
        };
        assert!(with("10.0.0.7", "Port", 1.into()));
        assert!(!with("10.0.0.7", "Port", 0.into()));
        assert!(!with("10.0.0.7", "Port", 70_000.into()));
        assert!(!with("10.0.0.7", "Kind", "connect-proxy".into()));
        assert!(!with("10.0.0.7", "Service", "two words".into()));
        assert!(!with("10.0.0.7", "Address", "127.0.0.1".into()));
        assert!(with("127.0.0.1", "Address", "127.0.0.1".into()));
    }

    #[test]
    fn ids_are_readable_and_do_not_collide() {
        let all =
            [("n", "a"), ("n", "a b"), ("n", "a/b"), ("n", "a_b"), ("n:a", "b"), ("n", "a:b")];
        let ids: Vec<_> = all.iter().map(|(node, service)| id(node, service).unwrap()).collect();
        assert_eq!(ids[0].as_str(), "consul:n:a");
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{ids:?}");
    }

    proptest! {
        /// Any client of Consul can register anything.
        #[test]
        fn any_instance_is_shown_or_left_out(
            texts in proptest::collection::vec(".{0,40}", 6),
            port in any::<i64>(),
            status in "passing|warning|critical|.{3}",
        ) {
            let instance = instance(serde_json::json!({
                "Node": { "Node": texts[0], "Address": texts[1] },
                "Service": {
                    "ID": texts[2], "Service": "x", "Port": port, "Tags": [texts[3]],
                    "Meta": { texts[4].clone(): texts[5] }, "Address": "10.0.0.1",
                },
                "Checks": [{ "Name": texts[3], "Status": status, "Output": texts[4] }],
            }));
            if let Some(endpoint) = endpoint(&instance) {
                Registration::from(endpoint).validate().unwrap();
            }
        }
    }
}
