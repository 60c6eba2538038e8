//! Asks the registry: central, and sure of what it says.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::registry_client::{ListQuery, RegistryClient};
use crate::strategy::{Kind, Knows, Outcome, Question, Strategy};

pub(crate) static KIND: Kind = Kind {
    name: "registry",
    knows: Knows::All,
    retries: true,
    timeout: |timeouts| timeouts.registry_lookup,
    build: |parts| Ok(Arc::new(Registry { client: parts.registry.clone() })),
};

struct Registry {
    client: RegistryClient,
}

// === impl Registry ===

impl Registry {
    async fn look_up(&self, question: &Question) -> Outcome {
        let mut query = ListQuery::named(question.name.clone());
        query.scopes.clone_from(&question.scopes);
        // A little less than the chain waits, so that the error names the registry.
        let client = self.client.clone().with_timeout(question.limit.mul_f64(0.95));
        let mut services = match client.list(&query).await {
            Ok(listing) => listing.services,
            Err(error) => return Outcome::Failed(error.into()),
        };
        // Whatever answers there may not be careful; the wrong service is worse than none.
        services.retain(|endpoint| endpoint.name == question.name);
        match Outcome::found_in(&question.scopes, services) {
            Some(candidates) => Outcome::Found(candidates),
            None => Outcome::NotFound {
                reason: format!("the registry at {} has no instance", self.client.url()),
                sure: true,
            },
        }
    }
}

impl Strategy for Registry {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Outcome> {
        self.look_up(question).boxed()
    }
}
