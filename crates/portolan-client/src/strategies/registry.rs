//! The strategy `registry`: asks the registry, which is central and authoritative.

use std::sync::Arc;
use std::time::Duration;

use crate::deps::Builtin;
use crate::registry_client::{ListQuery, RegistryClient, RegistryClientError};
use crate::strategy::{
    ChangeFeed, Strategy, StrategyError, StrategyFuture, StrategyKind, StrategyOutcome,
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

// === impl Registry ===

impl Registry {
    async fn list(&self, query: &StrategyQuery) -> StrategyOutcome {
        let mut list = ListQuery::named(query.name.clone());
        list.scopes.clone_from(&query.scopes);
        let client = self.client.clone().with_timeout(query.deadline.remaining());
        let mut services = match client.list(&list).await {
            Ok(listing) => listing.services,
            Err(error) => {
                let is_absent = matches!(error, RegistryClientError::Unreachable { .. });
                let error = StrategyError::from(error).optional(is_absent && !self.is_known);
                return StrategyOutcome::Failed(error);
            }
        };
        // Do not rely on the server's filter: a wrong service is worse than none.
        services.retain(|endpoint| endpoint.name == query.name);
        StrategyOutcome::found_in(&query.scopes, services).unwrap_or_else(|| {
            let reason = format!("the registry at {} has no instance", self.client.url());
            StrategyOutcome::NotFound { reason, authoritative: true }
        })
    }
}

impl Strategy for Registry {
    fn kind(&self) -> StrategyKind {
        KIND
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(self.list(query))
    }
}

impl From<RegistryClientError> for StrategyError {
    fn from(error: RegistryClientError) -> Self {
        let temporary = error.is_temporary();
        Self::from_remedy(error).temporary(temporary)
    }
}
