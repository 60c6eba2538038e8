//! One process's place on the channel.

use std::time::Duration;

use portolan_core::{Action, Scope, ServiceEndpoint, ServiceId, ServiceName};
use portolan_metrics::Metrics;

use crate::{AnnounceError, BroadcastConfig, BroadcastError, HeardEvents, Listener, QueryError};

/// A handle on the channel; clones share it. It stops when [`Broadcaster::stop`] is called or
/// the last clone goes.
#[derive(Debug, Clone)]
pub struct Broadcaster {}

/// When a query has its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    /// At the first instance, or a moment later where a better one may follow. Instances that
    /// are critical do not answer.
    First,
    /// When nobody answers any more. Critical instances answer too.
    All,
}

// === impl Broadcaster ===

impl Broadcaster {
    /// Joins the channel over UDP. Must be called within a tokio runtime.
    ///
    /// Where the channel's port is taken by a program that does not share it, this still
    /// succeeds, with a warning: announcing and asking need no more than a port of their own.
    pub async fn new(_config: BroadcastConfig, _metrics: Metrics) -> Result<Self, BroadcastError> {
        todo!()
    }

    /// Whether the channel itself is heard: without it there is no listening and no answering.
    pub fn is_listening(&self) -> bool {
        todo!()
    }

    /// Tells the channel what an instance does. A loopback endpoint goes out on loopback only.
    pub async fn announce(
        &self,
        _action: Action,
        _endpoint: &ServiceEndpoint,
    ) -> Result<(), AnnounceError> {
        todo!()
    }

    /// Answers queries for the endpoint from now on; held before, it is replaced.
    pub fn hold(&self, _endpoint: ServiceEndpoint) -> Result<(), AnnounceError> {
        todo!()
    }

    /// Answers for the instance no longer. Whether it was held.
    pub fn drop_held(&self, _id: &ServiceId) -> bool {
        todo!()
    }

    /// Everything heard from now on.
    pub fn listen(&self) -> Listener {
        todo!()
    }

    /// The instances heard, and their changes: revision 0, as there is no order to resume from.
    pub fn watch_heard(&self) -> HeardEvents {
        todo!()
    }

    /// Asks who has the service (any, where no name is given) in one of the scopes (all, where none is given),
    /// for at most `wait`. The answer is in order: by scope as asked, then by health; empty
    /// where nobody answered.
    pub async fn query(
        &self,
        _name: Option<&ServiceName>,
        _scopes: &[Scope],
        _wait: Duration,
        _enough: Enough,
    ) -> Result<Vec<ServiceEndpoint>, QueryError> {
        todo!()
    }

    /// Leaves the channel: ends every stream and joins every task. Announces nothing.
    pub async fn stop(&self) {
        todo!()
    }
}
