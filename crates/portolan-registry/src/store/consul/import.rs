//! Shows the services that Consul's own clients have registered.
//!
//! One server reads Consul's catalogue and writes what it says as endpoints, which all servers read like every other;
//! so all of them show the same, with the same revisions. It compares the catalogue with the endpoints each time that
//! one of them changes. Such an endpoint has no lease: it lives as long as it is in the catalogue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use portolan_consul::{ConsulCheck, ConsulError, ConsulServiceNames, KvTransaction};
use portolan_core::{ServiceEndpoint, ServiceId, Source};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::publish::{ID, SCOPE_TAG, TAG};
use super::record::{ChangeValue, Removed, Value};
use super::replica::Record;
use super::{ConsulClient, Shared};
use crate::store::owner::Owner;
use crate::store::remote::{LAST, Written, revision};
use crate::{CommandOrigin, CommandOutcome, Recorder, Registered};

mod foreign;

/// How long Consul waits for a change of the catalogue.
const WAIT: Duration = Duration::from_secs(10);
/// How often all services are read although nothing has told of a change in them, and how often at most if something
/// has changed that Consul does not name: an instance without checks.
const ALL_AT_LEAST: Duration = Duration::from_secs(60);
const ALL_AT_MOST: Duration = Duration::from_secs(5);
/// How long changes are collected, and how often the endpoints are compared with the catalogue without one.
const COLLECT: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// How many services are read, and how many endpoints written, at the same time.
const CONCURRENT: usize = 8;
/// The name of Consul's servers in the catalogue. They register themselves.
const CONSUL: &str = "consul";

/// What is known of the catalogue.
#[derive(Debug, Default)]
struct Catalogue {
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
}

type Names = BoxFuture<'static, Result<ConsulServiceNames, ConsulError>>;
type Checks = BoxFuture<'static, Result<(u64, Vec<ConsulCheck>), ConsulError>>;

// === impl Shared ===

impl Shared {
    /// Keeps the endpoints of Consul's own services equal to the catalogue while this server is the one that does it,
    /// for ever.
    pub(super) async fn import(&self, recorder: &Recorder) {
        let mut is_warned = false;
        loop {
            if self.imports() {
                match self.follow_catalogue(recorder).await {
                    Ok(()) => is_warned = false,
                    Err(error) => {
                        if !error.is_unreachable() && !std::mem::replace(&mut is_warned, true) {
                            warn!(%error, "Services of Consul not read");
                        }
                    }
                }
            }
            sleep(RETRY).await;
        }
    }

    /// Whether this server is the one that imports.
    fn imports(&self) -> bool {
        let task: ServiceId = "portolan-import".parse().expect("its characters are permitted");
        self.confirmed_session().is_some() && self.replica.lock().owns(&task)
    }

    async fn follow_catalogue(&self, recorder: &Recorder) -> Result<(), ConsulError> {
        let mut catalogue = Catalogue::default();
        if !self.config.import {
            return self.write_all(&catalogue, recorder).await;
        }
        let first = self.client.service_names(0, WAIT).await?;
        catalogue.set_names(first.names);
        let (mut names, mut checks) = (self.next_names(first.index), self.next_checks(0));
        while self.imports() {
            tokio::select! {
                changed = &mut names => {
                    let changed = changed?;
                    names = self.next_names(changed.index);
                    catalogue.set_names(changed.names);
                }
                changed = &mut checks => {
                    let (index, changed) = changed?;
                    checks = self.next_checks(index);
                    catalogue.set_checks(&changed);
                }
                // The endpoints may have changed.
                () = sleep(RETRY) => {}
            }
            sleep(COLLECT).await;
            catalogue.read(&self.client).await?;
            self.write_all(&catalogue, recorder).await?;
        }
        Ok(())
    }

    fn next_names(&self, index: u64) -> Names {
        let client = self.client.clone();
        async move { client.service_names(index, WAIT).await }.boxed()
    }

    fn next_checks(&self, index: u64) -> Checks {
        let client = self.client.clone();
        async move { client.checks(index, WAIT).await }.boxed()
    }

    /// Writes what differs between the catalogue and the endpoints.
    async fn write_all(
        &self,
        catalogue: &Catalogue,
        recorder: &Recorder,
    ) -> Result<(), ConsulError> {
        let (stored, removed) = self.differences(catalogue);
        let writes = stored
            .iter()
            .map(|(endpoint, written)| self.import_endpoint(endpoint, *written, recorder).boxed());
        let removals = removed.iter().map(|record| self.remove_import(record, recorder).boxed());
        let calls: Vec<_> = writes.chain(removals).collect();
        let mut results = stream::iter(calls).buffer_unordered(CONCURRENT);
        let mut last = 0;
        while let Some(result) = results.next().await {
            last = last.max(result?);
        }
        // So that the next comparison knows what was written.
        let mut progress = self.progress.subscribe();
        _ = timeout(RETRY, progress.wait_for(|index| *index >= last)).await;
        Ok(())
    }

    /// The endpoints that are to be written, with what that changes, and those that are to be removed.
    fn differences(&self, catalogue: &Catalogue) -> (Vec<(ServiceEndpoint, Written)>, Vec<Record>) {
        let replica = self.replica.lock();
        let (total, broadcast) = replica.counts();
        let (mut stored, mut kept, mut new) = (Vec::new(), BTreeSet::new(), 0);
        for endpoint in catalogue.instances.values().flatten() {
            let known = replica.record(&endpoint.id);
            kept.insert(endpoint.id.clone());
            let Some(change) = change(known.map(|record| &*record.endpoint), endpoint) else {
                continue;
            };
            if change == Written::Registered {
                if self.limits.check(Source::Consul, total + new, broadcast).is_err() {
                    continue;
                }
                new += 1;
            }
            let mut endpoint = endpoint.clone();
            if let Some(known) = known {
                endpoint.registered_at = known.endpoint.registered_at;
                endpoint.revision = known.endpoint.revision;
            }
            stored.push((endpoint, change));
        }
        let is_gone = |record: &&Record| {
            record.endpoint.source == Source::Consul && !kept.contains(&record.endpoint.id)
        };
        (stored, replica.records().filter(is_gone).cloned().collect())
    }

    /// Returns the index of the write, 0 if the endpoint was changed meanwhile.
    async fn import_endpoint(
        &self,
        endpoint: &ServiceEndpoint,
        written: Written,
        recorder: &Recorder,
    ) -> Result<u64, ConsulError> {
        let Some(transaction) = self.of_this_server() else { return Ok(0) };
        let (name, known) = (self.next_change(), self.replica.lock().written(&endpoint.id));
        let owner = Owner::new(CommandOrigin::api(None));
        let value = Value::new(endpoint.clone(), owner, written, self.server, &name);
        let encoded = value.encode();
        let stored = Some(value.in_change(&encoded));
        let change = ChangeValue { stored, ..ChangeValue::default() };
        let transaction = transaction
            .write_if(&self.keys.endpoint(&endpoint.id), &encoded, known)
            .write(&self.keys.change(&name), &change.encode());
        let Some(index) = self.client.transact(&transaction).await? else { return Ok(0) };
        let revision = revision(index, LAST);
        let endpoint = Arc::new(ServiceEndpoint { revision, ..endpoint.clone() });
        let created = written == Written::Registered;
        let changed = matches!(written, Written::Registered | Written::Updated | Written::Moved);
        let (moved_from, displaced) = (None, Vec::new());
        let registered = Registered { endpoint, created, changed, moved_from, displaced };
        recorder.committed(&CommandOutcome::Registered(registered), Source::Consul);
        Ok(index)
    }

    async fn remove_import(
        &self,
        record: &Record,
        recorder: &Recorder,
    ) -> Result<u64, ConsulError> {
        let Some(transaction) = self.of_this_server() else { return Ok(0) };
        let id = &record.endpoint.id;
        let removed = vec![Removed { id: id.clone(), expired: false }];
        let change = ChangeValue { removed, ..ChangeValue::default() };
        let transaction = transaction
            .delete_if(&self.keys.endpoint(id), record.written)
            .write(&self.keys.change(&self.next_change()), &change.encode());
        let Some(index) = self.client.transact(&transaction).await? else { return Ok(0) };
        let (endpoint, revision) = (Arc::clone(&record.endpoint), revision(index, 0));
        let outcome = CommandOutcome::Deregistered { endpoint, revision };
        recorder.committed(&outcome, Source::Consul);
        Ok(index)
    }

    /// A transaction that takes effect only while this server is live.
    fn of_this_server(&self) -> Option<KvTransaction> {
        let session = self.confirmed_session()?;
        Some(KvTransaction::default().check_session(&self.keys.server(self.server), &session))
    }
}

// === impl Catalogue ===

impl Catalogue {
    fn set_names(&mut self, mut names: BTreeMap<String, Vec<String>>) {
        names.remove(CONSUL);
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

    fn set_checks(&mut self, checks: &[ConsulCheck]) {
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
    async fn read(&mut self, client: &ConsulClient) -> Result<(), ConsulError> {
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
        while let Some(result) = results.next().await {
            read.push(result?);
        }
        drop(results);
        for (name, instances) in read {
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
) -> Result<(String, Vec<ServiceEndpoint>), ConsulError> {
    let instances = client.instances(&name, ID).await?;
    Ok((name, instances.iter().filter_map(foreign::endpoint).collect()))
}

/// What writing an endpoint changes; `None` if it is written already.
fn change(known: Option<&ServiceEndpoint>, new: &ServiceEndpoint) -> Option<Written> {
    let Some(known) = known else { return Some(Written::Registered) };
    if (&known.name, &known.scope) != (&new.name, &new.scope) {
        return Some(Written::Moved);
    }
    if !known.same_contents(new) || known.source != new.source {
        return Some(Written::Updated);
    }
    if known.health != new.health {
        return Some(Written::Health);
    }
    (known.health_reason != new.health_reason).then_some(Written::Reason)
}
