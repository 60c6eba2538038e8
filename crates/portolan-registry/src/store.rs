//! What keeps the endpoints and puts their changes in order.
//!
//! A store is the source of truth: it decides, gives revisions, and ends leases. What it has
//! committed it hands out through [`Store::next`], its own expiries and the changes of other
//! servers over the same store included; the registry's view is made of that and of nothing else,
//! so that all servers over one store see one history. Every store passes the shared suite in
//! `store/suite.rs`.
//!
//! | store | file |
//! | --- | --- |
//! | `memory` | `store/memory.rs` |

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use portolan_core::{Revision, ServiceEndpoint, ServiceEvent};

use crate::{Command, CommandOutcome, RegistryError, Source};

pub(crate) mod decide;
pub mod memory;

pub use memory::Memory;

/// Keeps endpoints, orders their changes, and ends their leases.
pub trait Store: fmt::Debug + Send + 'static {
    /// Carries the commands out in order, each with an outcome of its own. The changes that they
    /// make come out of [`Store::next`].
    fn apply(
        &mut self,
        commands: Vec<Command>,
        source: Source,
    ) -> impl Future<Output = Vec<Result<CommandOutcome, RegistryError>>> + Send;

    /// What was committed since the last call, in order; waits where that is nothing. The first
    /// thing is always a [`Committed::Reset`]. May be dropped at any time and loses nothing by it.
    fn next(&mut self) -> impl Future<Output = Vec<Committed>> + Send;

    /// Ends the leases that should have ended by now, and says how many there were.
    fn sweep(&mut self) -> impl Future<Output = usize> + Send;
}

/// What a store says that it has done.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// Everything there is: at the start, and where the store cannot tell change by change.
    Reset {
        /// Every instance.
        endpoints: Vec<Arc<ServiceEndpoint>>,
        /// The revision at which that is so.
        revision: Revision,
    },
    /// A change with a revision of its own.
    Changed(Arc<ServiceEvent>),
    /// News that is no change: a sign of life, another reason for the same health.
    Renewed(Arc<ServiceEndpoint>),
}

#[cfg(test)]
pub(crate) mod suite;
