//! The Lease of an exporter: which of its replicas writes, and whether its objects are still kept.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Error, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::write::bounded;
use crate::objects::{EXPORTER, MANAGED_BY, PORTOLAN};

/// What the names of the Leases begin with.
const PREFIX: &str = "portolan-export-";

/// The Lease of one exporter, which one of its replicas holds.
pub(crate) struct ExporterLease {
    api: Api<Lease>,
    exporter: String,
    identity: String,
    duration: Duration,
    /// The Leases as they were first seen in their present state: the clocks of hosts differ, so only the own one counts.
    observed: HashMap<String, (String, Instant)>,
    held_until: Option<Instant>,
}

/// Whether this replica writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Own,
    Other(String),
}

// === impl ExporterLease ===

impl ExporterLease {
    pub(crate) fn new(
        api: Api<Lease>,
        exporter: &str,
        identity: String,
        duration: Duration,
    ) -> Self {
        let (exporter, observed) = (exporter.to_owned(), HashMap::new());
        Self { api, exporter, identity, duration, observed, held_until: None }
    }

    /// Whether this replica may write now.
    pub(crate) fn is_held(&self) -> bool {
        self.held_until.is_some_and(|until| Instant::now() < until)
    }

    /// Renews the Lease, or takes it if nobody holds it.
    pub(crate) async fn renew(&mut self) -> Result<Holder, Error> {
        let name = lease_name(&self.exporter);
        let asked = Instant::now();
        let Some(known) = bounded(self.api.get_opt(&name)).await? else {
            self.create(&name).await?;
            return Ok(self.held(asked));
        };
        let holder = holder(&known);
        let is_free = holder.is_empty() || self.is_unchanged(&self.exporter.clone(), &known);
        if holder != self.identity && !is_free {
            self.held_until = None;
            return Ok(Holder::Other(holder.to_owned()));
        }
        self.write(&name, &known, &self.identity).await?;
        Ok(self.held(asked))
    }

    /// Lets another replica go on at once. Objects stay until the Lease would have ended.
    pub(crate) async fn release(&mut self) -> Result<(), Error> {
        let was_held = self.held_until.take().is_some_and(|until| Instant::now() < until);
        let name = lease_name(&self.exporter);
        let Some(known) = bounded(self.api.get_opt(&name)).await?.filter(|_| was_held) else {
            return Ok(());
        };
        if holder(&known) == self.identity {
            self.write(&name, &known, "").await?;
        }
        Ok(())
    }

    /// Deletes the Lease, with which an exporter leaves for good.
    pub(crate) async fn delete(&mut self) -> Result<(), Error> {
        self.held_until = None;
        let (name, parameters) = (lease_name(&self.exporter), DeleteParams::default());
        match bounded(self.api.delete(&name, &parameters)).await {
            Ok(_) => Ok(()),
            Err(Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns which of these exporters have no Lease any more, or one that nobody has renewed for its duration.
    pub(crate) async fn ended<'a>(
        &mut self,
        exporters: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<String>, Error> {
        let own = ListParams::default().labels(&format!("{MANAGED_BY}={PORTOLAN}"));
        let leases = bounded(self.api.list(&own)).await?.items;
        let mut ended = Vec::new();
        for exporter in exporters {
            let lease = leases.iter().find(|lease| lease.name_any() == lease_name(exporter));
            let has_ended = lease.is_none_or(|lease| self.is_unchanged(exporter, lease));
            if has_ended {
                ended.push(exporter.to_owned());
            }
        }
        Ok(ended)
    }

    fn held(&mut self, asked: Instant) -> Holder {
        self.observed.remove(&self.exporter);
        self.held_until = Some(asked + self.duration);
        Holder::Own
    }

    /// Whether nobody has renewed the Lease for its duration, as far as this process has seen.
    fn is_unchanged(&mut self, exporter: &str, lease: &Lease) -> bool {
        let version = lease.resource_version().unwrap_or_default();
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        match self.observed.get(exporter) {
            Some((known, since)) if *known == version => since.elapsed() >= duration,
            _ => {
                self.observed.insert(exporter.to_owned(), (version, Instant::now()));
                false
            }
        }
    }

    async fn create(&self, name: &str) -> Result<(), Error> {
        let labels = json!({ MANAGED_BY: PORTOLAN, EXPORTER: self.exporter });
        let mut lease = self.content(&self.identity);
        lease["metadata"] = json!({"name": name, "labels": labels});
        let lease: Lease = serde_json::from_value(lease).map_err(Error::SerdeError)?;
        bounded(self.api.create(&PostParams::default(), &lease)).await.map(drop)
    }

    /// Writes the Lease if its resource version is still the one that was read.
    async fn write(&self, name: &str, known: &Lease, identity: &str) -> Result<(), Error> {
        let mut patch = self.content(identity);
        patch["metadata"] = json!({"resourceVersion": known.resource_version()});
        let parameters = PatchParams::default();
        bounded(self.api.patch(name, &parameters, &Patch::Merge(patch))).await.map(drop)
    }

    fn content(&self, identity: &str) -> Value {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        json!({"spec": {
            "holderIdentity": identity, "leaseDurationSeconds": self.duration.as_secs(), "renewTime": now,
        }})
    }
}

/// The name of the Lease of an exporter.
pub(crate) fn lease_name(exporter: &str) -> String {
    format!("{PREFIX}{exporter}")
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}
