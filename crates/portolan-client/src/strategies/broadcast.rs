//! The strategy `broadcast`: queries every process on the broadcast channel, without a server.

use std::sync::Arc;
use std::time::Duration;

use portolan_broadcast::QueryMode;
use portolan_core::duration::format_rounded;

use crate::deps::Builtin;
use crate::lazy_broadcaster::LazyBroadcaster;
use crate::strategy::{
    ChangeFeed, Completeness, Proof, Strategy, StrategyError, StrategyFuture, StrategyKind,
    StrategyOutcome, StrategyQuery,
};

pub(crate) static STRATEGY: Builtin = Builtin {
    kind: KIND,
    build: |deps, _| Arc::new(Broadcast { broadcaster: Arc::clone(&deps.broadcaster) }),
};

const KIND: StrategyKind = StrategyKind {
    completeness: Completeness::AllOnRequest,
    feed: ChangeFeed::Announced,
    timeout: Some(Duration::from_secs(5)),
    timeout_key: Some("broadcast_wait"),
    ..StrategyKind::new("broadcast")
};

struct Broadcast {
    broadcaster: Arc<LazyBroadcaster>,
}

// === impl Broadcast ===

impl Broadcast {
    async fn query(&self, query: &StrategyQuery) -> StrategyOutcome {
        if self.broadcaster.is_disabled() {
            return StrategyOutcome::Skipped(
                "broadcasting is turned off (broadcast.enabled)".to_owned(),
            );
        }
        let broadcaster = match self.broadcaster.get().await {
            Ok(broadcaster) => broadcaster,
            Err(error) => return StrategyOutcome::Failed(StrategyError::from_remedy(error)),
        };
        let mode = if query.all { QueryMode::All } else { QueryMode::First };
        let (name, scopes) = (&query.name, &query.scopes);
        let wait = query.deadline.remaining();
        match broadcaster.query(Some(name), scopes, wait, mode).await {
            Ok(mut endpoints) => {
                endpoints.retain(|endpoint| endpoint.name == *name);
                StrategyOutcome::found_in(scopes, endpoints)
                    .map_or_else(|| no_answer(wait), |found| found.proven_by(Proof::Announced))
            }
            Err(error) => StrategyOutcome::Failed(StrategyError::from_remedy(error)),
        }
    }
}

impl Strategy for Broadcast {
    fn kind(&self) -> StrategyKind {
        KIND
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(self.query(query))
    }
}

fn no_answer(waited: Duration) -> StrategyOutcome {
    let waited = format_rounded(waited);
    let reason = format!("no answer on the broadcast channel within {waited}");
    StrategyOutcome::NotFound { reason, authoritative: true }
}
