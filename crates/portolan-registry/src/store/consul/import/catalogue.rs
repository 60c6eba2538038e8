//! What is known of Consul's catalogue, and what is to be read of it again.
//!
//! Consul tells of a change in two ways: a list of all names, and one of all checks. Neither names the instance
//! without checks that has changed. So such a change has all services read, at a bounded rate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use portolan_consul::{ConsulCheck, ConsulClient, ConsulError};
use portolan_core::{ServiceEndpoint, ServiceName};
use tokio::time::Instant;
use tracing::warn;

use super::foreign;
use crate::store::consul::publish::{ID, SCOPE_TAG, TAG};

/// How often all services are read although nothing has told of a change in them, and how often at most if something
/// has changed that Consul does not name: an instance without checks.
const ALL_AT_LEAST: Duration = Duration::from_secs(60);
const ALL_AT_MOST: Duration = Duration::from_secs(5);
/// The name of Consul's servers in the catalogue. They register themselves.
const CONSUL: &str = "consul";
/// How many services are read at the same time.
const CONCURRENT: usize = 8;

/// What is known of the catalogue.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    names: BTreeMap<String, Vec<String>>,
    /// By node and id: when the check has changed, and its service.
    checks: HashMap<(String, String), (u64, String)>,
    /// The instances of each service that was read.
    instances: BTreeMap<String, Vec<ServiceEndpoint>>,
    /// The services that are to be read.
    changed: BTreeSet<String>,
    /// Whether something has changed that Consul does not name.
    is_any_changed: bool,
    /// When all services were read.
    all_read: Option<Instant>,
    /// The services that could not be read.
    unread: BTreeSet<ServiceName>,
    is_warned: bool,
}

// === impl Catalogue ===

impl Catalogue {
    /// The instances of all services.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &ServiceEndpoint> {
        self.instances.values().flatten()
    }

    /// Whether it is known which instances the service has.
    pub(super) fn knows(&self, name: &ServiceName) -> bool {
        !self.unread.contains(name)
    }

    pub(super) fn set_names(&mut self, mut names: BTreeMap<String, Vec<String>>) {
        // Other names cannot be shown, and some of them are no path of a URL.
        names.retain(|name, _| name != CONSUL && name.parse::<ServiceName>().is_ok());
        let before = std::mem::replace(&mut self.names, names);
        for name in before.keys().filter(|name| !self.names.contains_key(*name)) {
            self.instances.remove(name);
        }
        let is_new = |(name, tags): &(&String, &Vec<String>)| before.get(*name) != Some(*tags);
        let changed = self.names.iter().filter(is_new);
        let changed: Vec<_> = changed.map(|(name, _)| name.clone()).collect();
        self.is_any_changed |= changed.is_empty();
        self.changed.extend(changed);
    }

    pub(super) fn set_checks(&mut self, checks: &[ConsulCheck]) {
        let before = std::mem::take(&mut self.checks);
        for check in checks {
            let is_own = check.service_tags.iter().flatten().any(|tag| tag == TAG);
            if is_own || check.service_name == CONSUL {
                continue;
            }
            let key = (check.node.clone(), check.id.clone());
            if before.get(&key).is_none_or(|known| known.0 != check.modify_index) {
                self.touch(&check.service_name);
            }
            self.checks.insert(key, (check.modify_index, check.service_name.clone()));
        }
        for (key, (_, service)) in before {
            if !self.checks.contains_key(&key) {
                self.touch(&service);
            }
        }
    }

    /// A check of the service has changed; of any, if it is one of a node.
    fn touch(&mut self, service: &str) {
        if service.is_empty() {
            self.is_any_changed = true;
        } else {
            self.changed.insert(service.to_owned());
        }
    }

    /// Reads the services that have changed.
    pub(super) async fn read(&mut self, client: &ConsulClient) -> Result<(), ConsulError> {
        let age = self.all_read.map(|at| at.elapsed());
        let is_due = |after: Duration| age.is_none_or(|age| age >= after);
        if is_due(ALL_AT_LEAST) {
            self.changed.extend(self.names.keys().cloned());
        } else if self.is_any_changed && is_due(ALL_AT_MOST) {
            // Those of Portolan alone are in its own keys already.
            let others = self.names.iter().filter(|(name, tags)| {
                !tags.iter().any(|tag| tag == TAG)
                    || self.instances.contains_key(*name)
                    || tags.iter().any(|tag| tag != TAG && !tag.starts_with(SCOPE_TAG))
            });
            self.changed.extend(others.map(|(name, _)| name.clone()).collect::<Vec<_>>());
        } else if self.changed.is_empty() {
            return Ok(());
        }
        let is_all = is_due(ALL_AT_LEAST) || (self.is_any_changed && is_due(ALL_AT_MOST));
        let names = self.changed.iter().filter(|name| self.names.contains_key(*name));
        let calls: Vec<_> = names.cloned().map(|name| read_service(client, name).boxed()).collect();
        let mut results = stream::iter(calls).buffer_unordered(CONCURRENT);
        let mut read = Vec::new();
        while let Some((name, result)) = results.next().await {
            match result {
                Ok(instances) => read.push((name, instances)),
                // One that cannot be read does not stop the others; it stays as it is known.
                Err(error) if !error.is_unreachable() => {
                    self.unread.extend(name.parse());
                    if !std::mem::replace(&mut self.is_warned, true) {
                        warn!(service_name = name, %error, "Service of Consul not read");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        drop(results);
        for (name, instances) in read {
            self.unread.retain(|unread| *unread != *name.to_ascii_lowercase());
            if instances.is_empty() {
                self.instances.remove(&name);
            } else {
                self.instances.insert(name, instances);
            }
        }
        self.changed.clear();
        if is_all {
            (self.all_read, self.is_any_changed) = (Some(Instant::now()), false);
        }
        Ok(())
    }
}

async fn read_service(
    client: &ConsulClient,
    name: String,
) -> (String, Result<Vec<ServiceEndpoint>, ConsulError>) {
    let instances = client.instances(&name, ID).await;
    let shown = |all: Vec<_>| all.iter().filter_map(foreign::endpoint).collect();
    (name, instances.map(shown))
}
