//! What is measured, and the processes that do it.

use std::time::Duration;

use anyhow::{Context, Result};
use portolan_core::PortRange;
use portolan_port_allocator::{Depth, PortAllocatorConfig};
use serde::{Deserialize, Serialize};

use crate::copies::{Answer, Copy, Order};
use crate::raw::Family;
use crate::slice::Slice;

/// What is done again and again in a slice of time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Binds a socket as a guard is bound and closes it, on the ports of a range in turn.
    Raw {
        /// On which addresses.
        family: Family,
        /// The ports.
        range: PortRange,
    },
    /// Binds the first port of a range that is free with one socket, and closes it.
    RawSearch {
        /// The ports.
        range: PortRange,
    },
    /// Allocates a port by the public API and gives it back.
    Lease {
        /// The settings.
        config: PortAllocatorConfig,
        /// How deep it is held.
        depth: Depth,
    },
}

/// Copies of this program that work at the same time.
#[derive(Debug)]
pub(crate) struct Crew {
    copies: Vec<Copy>,
}

// === impl Task ===

impl Task {
    /// What a guard is made of, on one port.
    pub(crate) fn raw(family: Family, port: u16) -> Result<Self> {
        Ok(Self::Raw { family, range: PortRange::new(port, port)? })
    }
}

// === impl Crew ===

impl Crew {
    /// So many processes, which wait for orders until this value is dropped.
    pub(crate) fn of(count: usize) -> Result<Self> {
        Ok(Self { copies: (0..count).map(|_| Copy::start()).collect::<Result<_>>()? })
    }

    /// Everybody does what the function says for this one, all at once.
    pub(crate) fn measure(
        &mut self,
        time: Duration,
        task: impl Fn(usize) -> Result<Task>,
    ) -> Result<Slice> {
        let order = |index| Ok(Order::Measure { task: task(index)?, time });
        let answers = self.all(order)?;
        let slices = answers.into_iter().map(|answer| match answer {
            Answer::Slice(slice) => Ok(slice),
            other => anyhow::bail!("no slice, but {other:?}"),
        });
        Ok(Slice::together(slices.collect::<Result<Vec<_>>>()?))
    }

    /// Everybody holds so many guarded leases from now on, of the pool of these settings.
    pub(crate) fn hold(&mut self, config: &PortAllocatorConfig, count: usize) -> Result<()> {
        self.all(|_| Ok(Order::Hold { config: config.clone(), count })).map(drop)
    }

    /// Everybody binds a socket to each of these ports.
    pub(crate) fn bind(&mut self, range: PortRange) -> Result<()> {
        self.all(|_| Ok(Order::Bind { range })).map(drop)
    }

    /// Kills everybody.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.copies.iter_mut().try_for_each(Copy::kill)
    }

    fn all(&mut self, order: impl Fn(usize) -> Result<Order>) -> Result<Vec<Answer>> {
        for (index, copy) in self.copies.iter_mut().enumerate() {
            copy.tell(&order(index)?)?;
        }
        self.copies.iter_mut().map(|copy| copy.hear().context("a copy of the bench")).collect()
    }
}
