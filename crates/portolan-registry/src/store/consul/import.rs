//! Shows the services that Consul's own clients have registered.
//!
//! One server reads Consul's catalogue and writes what it says as endpoints, which all servers read like every other;
//! so all of them show the same, with the same revisions. It compares the catalogue with the endpoints each time that
//! one of them changes. Such an endpoint has no lease: it lives as long as it is in the catalogue.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use portolan_consul::{ConsulCheck, ConsulError, ConsulServiceNames, KvTransaction};
use portolan_core::{Remedy, ServiceEndpoint, ServiceId, Source};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Shared;
use super::record::{ChangeValue, Removed, Value};
use super::replica::Record;
use crate::store::owner::Owner;
use crate::store::remote::{LAST, Written, revision};
use crate::{CommandOrigin, CommandOutcome, Recorder, Registered};
use catalogue::Catalogue;

mod catalogue;
mod foreign;

/// How long Consul waits for a change of the catalogue.
const WAIT: Duration = Duration::from_secs(10);
/// How long changes are collected, and how often the endpoints are compared with the catalogue without one.
const COLLECT: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// How many endpoints are written at the same time.
const CONCURRENT: usize = 8;

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
                            let error = error.with_remedy();
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
        let limits = self.rules.lock().limits;
        let replica = self.replica.lock();
        let (total, broadcast) = replica.counts();
        let (mut stored, mut kept, mut new) = (Vec::new(), BTreeSet::new(), 0);
        for endpoint in catalogue.endpoints() {
            let known = replica.record(&endpoint.id);
            kept.insert(endpoint.id.clone());
            let Some(change) = change(known.map(|record| &*record.endpoint), endpoint) else {
                continue;
            };
            if change == Written::Registered {
                if limits.check(Source::Consul, total + new, broadcast).is_err() {
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
            let endpoint = &record.endpoint;
            endpoint.source == Source::Consul
                && !kept.contains(&endpoint.id)
                && catalogue.knows(&endpoint.name)
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
        let owner = Owner::new(&CommandOrigin::api(None));
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
