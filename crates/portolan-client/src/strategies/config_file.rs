//! The strategy `config`: looks the service up in the section `discovery.endpoints`.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_core::{Scope, ServiceName};

use crate::deps::Builtin;
use crate::static_endpoints::ConfiguredEndpoints;
use crate::strategy::{
    Candidate, Proof, Strategy, StrategyFuture, StrategyKind, StrategyOutcome, StrategyQuery,
};

pub(crate) static STRATEGY: Builtin = Builtin {
    kind: KIND,
    build: |deps, _| {
        let (endpoints, scope) = (deps.endpoints.clone(), deps.scopes[0].clone());
        Arc::new(ConfigFile { endpoints, scope })
    },
};

const KIND: StrategyKind = StrategyKind { configured: true, ..StrategyKind::new("config") };

struct ConfigFile {
    endpoints: BTreeMap<ServiceName, ConfiguredEndpoints>,
    scope: Scope,
}

// === impl ConfigFile ===

impl ConfigFile {
    fn lookup(&self, name: &ServiceName) -> StrategyOutcome {
        let configured = self.endpoints.get(name).into_iter().flat_map(ConfiguredEndpoints::iter);
        let candidates: Vec<_> = configured
            .map(|configured| Candidate::from(configured.endpoint(name, &self.scope)))
            .collect();
        if candidates.is_empty() {
            // An endpoint that is not configured may exist nevertheless.
            let reason = format!("no discovery.endpoints.{name}");
            return StrategyOutcome::NotFound { reason, authoritative: false };
        }
        StrategyOutcome::Found(candidates).proven_by(Proof::Configured)
    }
}

impl Strategy for ConfigFile {
    fn kind(&self) -> StrategyKind {
        KIND
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(std::future::ready(self.lookup(&query.name)))
    }
}
