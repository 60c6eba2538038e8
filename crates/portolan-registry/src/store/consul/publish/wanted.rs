//! What is registered at the agent for an instance. Without I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_consul::{ConsulCheckStatus, ConsulRegistration};
use portolan_core::{HealthStatus, Host, ServiceEndpoint, Source};

use crate::store::consul::replica::Record;

/// The metadata of a service that Portolan registers: the id of the instance, and the prefix of its registry.
pub(in crate::store::consul) const ID: &str = "portolan-id";
pub(super) const REGISTRY: &str = "portolan-registry";
const SCOPE: &str = "portolan-scope";
const VERSION: &str = "version";
const PROTOCOL: &str = "protocol";
/// The tag of every service that Portolan registers, and the beginning of the one with its scope.
pub(in crate::store::consul) const TAG: &str = "portolan";
pub(in crate::store::consul) const SCOPE_TAG: &str = "scope-";
/// How long a check lasts beyond the TTL of the instance.
pub(super) const SLACK: Duration = Duration::from_secs(15);
/// How long the check of an instance may be critical until the agent deregisters it. An instance that is critical for
/// Portolan is registered again then; one that no server knows any more is gone.
const DEREGISTER_AFTER: Duration = Duration::from_secs(3600);
/// The longest metadata that Consul accepts, and the number of its entries.
const META_VALUE: usize = 512;
const META_ENTRIES: usize = 64;

/// What is to be registered for an instance.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) registration: ConsulRegistration,
    /// The output of its check.
    pub(super) output: String,
}

// === impl Wanted ===

impl Wanted {
    /// What is to be registered for an instance of the registry with this prefix; `None` if others cannot reach it: an address
    /// of loopback is one of another machine for them, unless Consul itself is on loopback.
    pub(super) fn of(record: &Record, prefix: &str, is_local: bool) -> Option<Self> {
        let endpoint = &*record.endpoint;
        let mut hosts = endpoint.hosts().filter(|host| is_local || !host.is_loopback());
        let host = hosts.next().filter(|_| endpoint.source == Source::Registered)?;
        let output = match endpoint.health_reason.as_str() {
            "" => format!("health: {}", endpoint.health),
            reason => format!("health: {}: {reason}", endpoint.health),
        };
        Some(Self { registration: registration(endpoint, host, prefix, status(record)), output })
    }
}

fn registration(
    endpoint: &ServiceEndpoint,
    host: &Host,
    prefix: &str,
    status: ConsulCheckStatus,
) -> ConsulRegistration {
    ConsulRegistration {
        id: format!("{}:{}", prefix.replace('/', ":"), endpoint.id),
        name: endpoint.name.to_string(),
        address: host.to_string(),
        port: endpoint.port,
        tags: vec![TAG.to_owned(), format!("{SCOPE_TAG}{}", endpoint.scope)],
        meta: metadata(endpoint, prefix),
        ttl: endpoint.ttl.duration() + SLACK,
        deregister_after: DEREGISTER_AFTER,
        status,
    }
}

fn metadata(endpoint: &ServiceEndpoint, prefix: &str) -> BTreeMap<String, String> {
    let mut meta = BTreeMap::from([
        (ID.to_owned(), endpoint.id.to_string()),
        (REGISTRY.to_owned(), prefix.to_owned()),
        (SCOPE.to_owned(), endpoint.scope.to_string()),
        (PROTOCOL.to_owned(), endpoint.protocol.to_string()),
    ]);
    if !endpoint.version.is_empty() {
        meta.insert(VERSION.to_owned(), endpoint.version.clone());
    }
    for (key, value) in &endpoint.metadata {
        let is_free = meta.len() < META_ENTRIES && !meta.contains_key(key);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if is_free && key.chars().all(is_plain) && !key.starts_with("consul-") {
            meta.insert(key.to_owned(), value.to_owned());
        }
    }
    meta.retain(|_, value| value.len() <= META_VALUE);
    meta
}

/// The status of an instance's check. Consul has no unknown health: an instance that is not checked passes as long as its lease
/// lives, and one that is kept although its lease ended has the status from before. If it became critical, Consul's clients
/// would lose those instances that are to be kept for them; and one that was critical must not pass.
fn status(record: &Record) -> ConsulCheckStatus {
    let before = record.kept.as_ref().and_then(|kept| kept.health.as_ref());
    match before.map_or(record.endpoint.health, |before| before.status) {
        HealthStatus::Critical => ConsulCheckStatus::Critical,
        HealthStatus::Warning => ConsulCheckStatus::Warning,
        HealthStatus::Passing | HealthStatus::Unknown => ConsulCheckStatus::Passing,
    }
}
