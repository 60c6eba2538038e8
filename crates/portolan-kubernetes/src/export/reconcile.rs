//! Makes the objects of one service equal to its instances.

use std::collections::HashMap;

use kube::runtime::watcher::Event;
use kube::{Api, Client, Error, Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::changes::{ObjectChange, SourceChange};
use crate::known::Key;
use crate::objects::{EndpointSlice, MANAGED_BY, SLICE_MANAGED_BY, Service};
use crate::view::View;

use super::content::has_content;
use super::plan::{Offered, Writer};
use super::write::{delete, put};

/// What the cluster is to show of a service.
pub(crate) enum Wanted {
    /// The Service, with slices of these instances.
    Shown(Vec<Offered>),
    /// The Service without endpoints, so that its address stays if the instances return.
    Emptied,
    /// Nothing.
    Removed,
}

/// The objects of a namespace, and what this process has written to them.
pub(crate) struct Objects {
    pub(crate) client: Client,
    pub(crate) services: Api<Service>,
    pub(crate) slices: Api<EndpointSlice>,
    /// The version of slices.
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) writer: Writer,
    /// The content of each object with the resource version that it has since. Another version means that somebody else has
    /// changed the object.
    pub(crate) written: HashMap<Written, (String, Value)>,
}

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Written {
    Service(String),
    Slice(String),
}

/// What was done, also if it failed in the middle.
pub(crate) struct Outcome {
    pub(crate) name: String,
    /// What the API server has answered: the watch reports it later.
    pub(crate) changes: Vec<SourceChange>,
    pub(crate) written: Vec<(Written, String, Value)>,
    pub(crate) result: Result<(), Problem>,
}

/// Why a service is not shown.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The Service of this name is not one of this exporter.
    Foreign(Option<String>),
    Api(Error),
}

// === impl Objects ===

impl Objects {
    /// Makes the objects of a service equal to what is wanted.
    pub(crate) async fn reconcile(&self, view: &View, name: &str, wanted: Wanted) -> Outcome {
        let (changes, written) = (Vec::new(), Vec::new());
        let mut outcome = Outcome { name: name.to_owned(), changes, written, result: Ok(()) };
        outcome.result = self.apply(view, name, wanted, &mut outcome).await;
        outcome
    }

    async fn apply(
        &self,
        view: &View,
        name: &str,
        wanted: Wanted,
        outcome: &mut Outcome,
    ) -> Result<(), Problem> {
        let key = Key { namespace: self.namespace.clone(), name: name.to_owned() };
        let known = view.service(&key);
        let owns =
            |service: &Service| self.writer.owns(service.metadata.labels.as_ref(), MANAGED_BY);
        let is_foreign = known.is_some_and(|service| !owns(service));
        let mut keep = Vec::new();
        if let (Wanted::Shown(offered), false) = (&wanted, is_foreign) {
            let service = self.put_service(known, name, offered, outcome).await?;
            let uid = service.uid().unwrap_or_default();
            let of_service = view.slices(&key).filter(|slice| self.owns_slice(slice));
            let slices = self.writer.slices((name, &uid), &self.version, offered, of_service);
            for (slice_name, content) in slices {
                let known = view.slices(&key).find(|slice| slice.name_any() == slice_name);
                self.put_slice(known, &slice_name, content, outcome).await?;
                keep.push(slice_name);
            }
        }
        for slice in view.slices(&key).filter(|slice| self.owns_slice(slice)) {
            if !keep.contains(&slice.name_any()) {
                self.delete_slice(slice, outcome).await?;
            }
        }
        match (&wanted, known) {
            (Wanted::Removed, Some(service)) if !is_foreign => {
                self.delete_service(service, outcome).await
            }
            (Wanted::Shown(_), Some(service)) if is_foreign => {
                let labels = service.metadata.labels.as_ref();
                let exporter = super::plan::exporter_of(labels, MANAGED_BY);
                Err(Problem::Foreign(exporter.map(str::to_owned)))
            }
            _ => Ok(()),
        }
    }

    async fn put_service(
        &self,
        known: Option<&Service>,
        name: &str,
        offered: &[Offered],
        outcome: &mut Outcome,
    ) -> Result<Service, Problem> {
        let is_headless = |it: &Service| it.spec.cluster_ip.as_deref() == Some("None");
        // The address of a Service cannot be changed.
        let (unfit, known) = match known {
            Some(service) if is_headless(service) != self.writer.headless => (Some(service), None),
            known => (None, known),
        };
        if let Some(unfit) = unfit {
            self.delete_service(unfit, outcome).await?;
        }
        let content = self.writer.service(name, offered, known);
        let key = Written::Service(name.to_owned());
        if let Some(known) = known.filter(|it| self.is_current(&key, *it, &content)) {
            return Ok(known.clone());
        }
        let service = put(&self.client, &self.services, known, &content).await?;
        outcome.written.push((key, service.resource_version().unwrap_or_default(), content));
        outcome.saw(ObjectChange::Service(Event::Apply(service.clone())), &self.namespace);
        Ok(service)
    }

    async fn put_slice(
        &self,
        known: Option<&EndpointSlice>,
        name: &str,
        content: Value,
        outcome: &mut Outcome,
    ) -> Result<(), Problem> {
        let key = Written::Slice(name.to_owned());
        if known.is_some_and(|it| self.is_current(&key, it, &content)) {
            return Ok(());
        }
        let slice = put(&self.client, &self.slices, known, &content).await?;
        outcome.written.push((key, slice.resource_version().unwrap_or_default(), content));
        outcome.saw(ObjectChange::Slice(Event::Apply(slice)), &self.namespace);
        Ok(())
    }

    async fn delete_slice(
        &self,
        slice: &EndpointSlice,
        outcome: &mut Outcome,
    ) -> Result<(), Problem> {
        delete(&self.slices, slice).await?;
        outcome.saw(ObjectChange::Slice(Event::Delete(slice.clone())), &self.namespace);
        Ok(())
    }

    async fn delete_service(
        &self,
        service: &Service,
        outcome: &mut Outcome,
    ) -> Result<(), Problem> {
        delete(&self.services, service).await?;
        outcome.saw(ObjectChange::Service(Event::Delete(service.clone())), &self.namespace);
        Ok(())
    }

    /// Whether the object has this content. What this process has written has it in every detail until somebody changes it.
    fn is_current<K: Resource + Serialize>(
        &self,
        key: &Written,
        known: &K,
        content: &Value,
    ) -> bool {
        match self.written.get(key) {
            Some((version, written)) if Some(version) == known.meta().resource_version.as_ref() => {
                written == content
            }
            _ => has_content(known, content),
        }
    }

    pub(crate) fn owns_slice(&self, slice: &EndpointSlice) -> bool {
        self.writer.owns(slice.metadata.labels.as_ref(), SLICE_MANAGED_BY)
    }
}

// === impl Outcome ===

impl Outcome {
    fn saw(&mut self, change: ObjectChange, namespace: &str) {
        self.changes.push(SourceChange { namespace: Some(namespace.to_owned()), change });
    }
}

// === impl Problem ===

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}
