//! Asks the registry: central, and sure of what it says.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::registry_client::{ListQuery, RegistryClient};
use crate::strategy::{Completeness, Kind, Strategy, StrategyOutcome, StrategyQuery};

pub(crate) static KIND: Kind = Kind {
    name: "registry",
    completeness: Completeness::All,
    retries: true,
    timeout: |timeouts| timeouts.registry_lookup,
    build: |deps| Ok(Arc::new(Registry { client: deps.registry.clone() })),
};

struct Registry {
    client: RegistryClient,
}

// === impl Registry ===

impl Registry {
    async fn look_up(&self, query: &StrategyQuery) -> StrategyOutcome {
        let mut list = ListQuery::named(query.name.clone());
        list.scopes.clone_from(&query.scopes);
        // A little less than the chain waits, so that the error names the registry.
        let client = self.client.clone().with_timeout(query.limit.mul_f64(0.95));
        let mut services = match client.list(&list).await {
            Ok(listing) => listing.services,
            Err(error) => return StrategyOutcome::Failed(error.into()),
        };
        // Whatever answers there may not be careful; the wrong service is worse than none.
        services.retain(|endpoint| endpoint.name == query.name);
        match StrategyOutcome::found_in(&query.scopes, services) {
            Some(candidates) => StrategyOutcome::Found(candidates),
            None => StrategyOutcome::NotFound {
                reason: format!("the registry at {} has no instance", self.client.url()),
                sure: true,
            },
        }
    }
}

impl Strategy for Registry {
    fn ask<'a>(&'a self, query: &'a StrategyQuery) -> BoxFuture<'a, StrategyOutcome> {
        self.look_up(query).boxed()
    }
}
