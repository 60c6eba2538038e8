//! Asks everybody on the broadcast channel: needs no server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_broadcast::Enough;
use portolan_core::duration::format_rounded;

use crate::channel::Channel;
use crate::strategy::{Kind, Knows, Outcome, Question, Strategy};

/// The part of the time limit that is left for opening the channel and for the last answer.
const RESERVE: u32 = 20;

pub(crate) static KIND: Kind = Kind {
    name: "broadcast",
    knows: Knows::AllIfAsked,
    retries: false,
    timeout: |timeouts| timeouts.broadcast_wait,
    build: |parts| Ok(Arc::new(Broadcast { channel: Arc::clone(&parts.channel) })),
};

struct Broadcast {
    channel: Arc<Channel>,
}

// === impl Broadcast ===

impl Broadcast {
    async fn query(&self, question: &Question) -> Outcome {
        if self.channel.is_disabled() {
            return Outcome::Skip("broadcasting is turned off (broadcast.enabled)".to_owned());
        }
        let broadcaster = match self.channel.broadcaster().await {
            Ok(broadcaster) => broadcaster,
            Err(error) => return Outcome::Failed(error.into()),
        };
        let enough = if question.all { Enough::All } else { Enough::First };
        let (name, scopes) = (&question.name, &question.scopes);
        let wait = question.limit - question.limit / RESERVE;
        match broadcaster.query(Some(name), scopes, wait, enough).await {
            Ok(mut endpoints) => {
                endpoints.retain(|endpoint| endpoint.name == *name);
                let found = Outcome::found_in(scopes, endpoints);
                found.map_or_else(|| nobody(wait), Outcome::Found)
            }
            Err(error) => Outcome::Failed(error.into()),
        }
    }
}

impl Strategy for Broadcast {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Outcome> {
        self.query(question).boxed()
    }
}

fn nobody(waited: Duration) -> Outcome {
    let reason =
        format!("nobody answered on the broadcast channel within {}", format_rounded(waited));
    Outcome::NotFound { reason, sure: true }
}
