//! The strategy `registry`: asks the registry, which is central and authoritative.

mod reachable;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::duration::format_rounded;
use portolan_core::kubernetes_name::{CLUSTER, NAMESPACE};
use portolan_core::{DeclaredInstance, KubernetesName, Remedy, Scope, ServiceEndpoint};

use tracing::warn;

use crate::Proof;
use crate::deps::Builtin;
use crate::registry_client::{ListQuery, Listing, RegistryClient, RegistryClientError};
use crate::strategy::{
    Candidate, ChangeFeed, Strategy, StrategyError, StrategyFuture, StrategyKind, StrategyOutcome,
    StrategyQuery,
};

pub(crate) static STRATEGY: Builtin = Builtin {
    kind: KIND,
    build: |deps, _| {
        Arc::new(Registry { client: deps.registry.clone(), is_known: deps.registry_is_known })
    },
};

const KIND: StrategyKind = StrategyKind {
    feed: ChangeFeed::Ordered,
    retries: true,
    timeout: Some(Duration::from_secs(1)),
    timeout_key: Some("registry_lookup"),
    ..StrategyKind::new("registry")
};

struct Registry {
    client: RegistryClient,
    /// Whether there is certainly a registry.
    is_known: bool,
}

/// An empty list of a registry that has just started says nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "the registry at {url} has just started and has no instance yet; services that ran before have not all \
     registered again"
)]
pub(crate) struct JustStarted {
    pub(crate) url: String,
}

/// An empty list of a registry that has lost its store says nothing about now.
#[derive(Debug, thiserror::Error)]
#[error(
    "the registry at {url} has no instance, but it has lost its store: what it knows is {} old",
    format_rounded(*age)
)]
pub(crate) struct Stale {
    pub(crate) url: String,
    pub(crate) age: Duration,
}

// === impl Stale ===

impl Remedy for Stale {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some("ask its /readyz for the reason, and check that its store is reachable".into())
    }
}

// === impl JustStarted ===

impl Remedy for JustStarted {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some("ask again once a heartbeat interval has passed, 30 s by default".into())
    }
}

// === impl Registry ===

impl Registry {
    async fn list(&self, query: &StrategyQuery) -> StrategyOutcome {
        let mut list = ListQuery::named(query.name.clone());
        list.scopes.clone_from(&query.scopes);
        let client = self.client.clone().with_timeout(query.deadline.remaining());
        let Listing { incomplete, view_age_ms, stale, stack, mut services, mut declared, .. } =
            match client.list(&list).await {
                Ok(listing) => listing,
                Err(error) => {
                    let is_absent = matches!(error, RegistryClientError::Unreachable { .. });
                    let error = StrategyError::from(error).optional(is_absent && !self.is_known);
                    return StrategyOutcome::Failed(error);
                }
            };
        let url = || self.client.url();
        let age = Duration::from_millis(view_age_ms);
        if stale {
            warn!(url = url(), age = %format_rounded(age), "Registry has lost its store and answers with old data");
        }
        // Do not rely on the server's filter: a wrong service is worse than none.
        services.retain(|endpoint| endpoint.name == query.name);
        declared.retain(|instance| instance.name == query.name);
        if let Some(not_ready) = not_ready(&query.scopes, &services, &declared) {
            return not_ready;
        }
        let unreachable = reachable::retain_reachable(&mut services);
        let found = StrategyOutcome::found_in(&query.scopes, services);
        found.map(|found| of_stack(found, stack.as_ref())).unwrap_or_else(|| {
            if !unreachable.is_empty() {
                let addresses = unreachable.join(", ");
                let reason =
                    format!("this host has no address of the family to reach {addresses} from");
                return StrategyOutcome::NotFound { reason, authoritative: true };
            }
            if incomplete {
                let error = JustStarted { url: url() };
                return StrategyOutcome::Failed(StrategyError::from_remedy(error));
            }
            if stale {
                let error = Stale { url: url(), age };
                return StrategyOutcome::Failed(StrategyError::from_remedy(error));
            }
            let reason = format!("the registry at {} has no instance", self.client.url());
            StrategyOutcome::NotFound { reason, authoritative: true }
        })
    }

    /// Asks for the Service of a cluster that has this name, if the name says its namespace: `web.shop`.
    async fn list_in_cluster(&self, query: &StrategyQuery) -> Option<StrategyOutcome> {
        let KubernetesName { service, namespace } = KubernetesName::parse(&query.name)?;
        let mut list = ListQuery::named(service.clone());
        let namespace = namespace?.to_string();
        list.metadata.insert(NAMESPACE.to_owned(), namespace.clone());
        let client = self.client.clone().with_timeout(query.deadline.remaining());
        let mut services = client.list(&list).await.ok()?.services;
        // Who may register in another scope is not who may register in that of the namespace.
        services.retain(|endpoint| {
            endpoint.name == service
                && endpoint.metadata.contains_key(CLUSTER)
                && endpoint.metadata.get(NAMESPACE) == Some(&namespace)
                && endpoint.scope.as_str().ends_with(&namespace)
        });
        // Several clusters may have such a Service, in scopes with different prefixes.
        let scope = services.iter().map(|endpoint| endpoint.scope.clone()).min()?;
        reachable::retain_reachable(&mut services);
        StrategyOutcome::found_in(&[scope], services)
    }
}

/// Marks the instances that the stack of the registry has started.
fn of_stack(mut found: StrategyOutcome, stack: Option<&Scope>) -> StrategyOutcome {
    if let StrategyOutcome::Found(candidates) = &mut found {
        let is_own = |candidate: &&mut Candidate| {
            candidate.proof == Proof::Registered && Some(&candidate.endpoint.scope) == stack
        };
        candidates.iter_mut().filter(is_own).for_each(|one| one.proof = Proof::OfStack);
    }
    found
}

/// Returns the outcome if the nearest scope in which the service is known has only declared instances.
fn not_ready(
    scopes: &[Scope],
    services: &[ServiceEndpoint],
    declared: &[DeclaredInstance],
) -> Option<StrategyOutcome> {
    let scope = scopes.iter().find(|scope| {
        services.iter().any(|endpoint| endpoint.scope == **scope)
            || declared.iter().any(|instance| instance.scope == **scope)
    })?;
    if services.iter().any(|endpoint| endpoint.scope == *scope) {
        return None;
    }
    let within = declared.iter().filter(|instance| instance.scope == *scope);
    let within: Vec<DeclaredInstance> = within.cloned().collect();
    let reason = DeclaredInstance::describe(&within, Timestamp::now())?;
    let remedy = DeclaredInstance::remedy(&within)?;
    Some(StrategyOutcome::NotReady { scope: scope.clone(), reason, remedy })
}

impl Strategy for Registry {
    fn kind(&self) -> StrategyKind {
        KIND
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(async move {
            match self.list(query).await {
                outcome @ StrategyOutcome::NotFound { .. } => {
                    self.list_in_cluster(query).await.unwrap_or(outcome)
                }
                outcome => outcome,
            }
        })
    }
}

impl From<RegistryClientError> for StrategyError {
    fn from(error: RegistryClientError) -> Self {
        let temporary = error.is_temporary();
        let not_permitted = matches!(
            error,
            RegistryClientError::NotPermitted { .. } | RegistryClientError::ForeignListener { .. }
        );
        Self::from_remedy(error).temporary(temporary).not_permitted(not_permitted)
    }
}
