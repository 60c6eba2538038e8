//! Asks everybody on the broadcast channel: needs no server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_broadcast::QueryMode;
use portolan_core::duration::format_rounded;

use crate::lazy_broadcaster::LazyBroadcaster;
use crate::strategy::{Completeness, Kind, Strategy, StrategyOutcome, StrategyQuery};

/// The part of the time limit that is left for opening the channel and for the last answer.
const RESERVE: u32 = 20;

pub(crate) static KIND: Kind = Kind {
    name: "broadcast",
    completeness: Completeness::AllOnRequest,
    retries: false,
    timeout: |timeouts| timeouts.broadcast_wait,
    build: |deps| Ok(Arc::new(Broadcast { broadcaster: Arc::clone(&deps.broadcaster) })),
};

struct Broadcast {
    broadcaster: Arc<LazyBroadcaster>,
}

// === impl Broadcast ===

impl Broadcast {
    async fn query(&self, query: &StrategyQuery) -> StrategyOutcome {
        if self.broadcaster.is_disabled() {
            return StrategyOutcome::Skip(
                "broadcasting is turned off (broadcast.enabled)".to_owned(),
            );
        }
        let broadcaster = match self.broadcaster.broadcaster().await {
            Ok(broadcaster) => broadcaster,
            Err(error) => return StrategyOutcome::Failed(error.into()),
        };
        let enough = if query.all { QueryMode::All } else { QueryMode::First };
        let (name, scopes) = (&query.name, &query.scopes);
        let wait = query.limit - query.limit / RESERVE;
        match broadcaster.query(Some(name), scopes, wait, enough).await {
            Ok(mut endpoints) => {
                endpoints.retain(|endpoint| endpoint.name == *name);
                let found = StrategyOutcome::found_in(scopes, endpoints);
                found.map_or_else(|| nobody(wait), StrategyOutcome::Found)
            }
            Err(error) => StrategyOutcome::Failed(error.into()),
        }
    }
}

impl Strategy for Broadcast {
    fn ask<'a>(&'a self, query: &'a StrategyQuery) -> BoxFuture<'a, StrategyOutcome> {
        self.query(query).boxed()
    }
}

fn nobody(waited: Duration) -> StrategyOutcome {
    let reason =
        format!("nobody answered on the broadcast channel within {}", format_rounded(waited));
    StrategyOutcome::NotFound { reason, sure: true }
}
