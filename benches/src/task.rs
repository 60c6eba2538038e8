//! The tasks that are measured, and the pool of worker processes.

use std::time::Duration;

use anyhow::{Context, Result};
use portolan_core::PortRange;
use portolan_port_allocator::{Depth, PortAllocatorConfig};
use serde::{Deserialize, Serialize};

use crate::baseline::Family;
use crate::sample::Sample;
use crate::worker::{Job, JobResult, Worker};

/// What a sample repeats.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Binds a socket like a guard and closes it, on the ports of a range in turn.
    Baseline {
        /// The addresses.
        family: Family,
        /// The ports.
        range: PortRange,
    },
    /// Binds one socket to the first free port of a range and closes it.
    BaselineSearch {
        /// The ports.
        range: PortRange,
    },
    /// Allocates a port through the public API and releases it.
    Lease {
        /// The settings.
        config: PortAllocatorConfig,
        /// The hold level.
        depth: Depth,
    },
}

/// Worker processes that run concurrently. They end when this value is dropped.
#[derive(Debug)]
pub(crate) struct WorkerPool {
    workers: Vec<Worker>,
}

// === impl Task ===

impl Task {
    /// The system calls of a guard on one port.
    pub(crate) fn baseline(family: Family, port: u16) -> Result<Self> {
        Ok(Self::Baseline { family, range: PortRange::new(port, port)? })
    }
}

// === impl WorkerPool ===

impl WorkerPool {
    /// Starts this many processes.
    pub(crate) fn start(count: usize) -> Result<Self> {
        Ok(Self { workers: (0..count).map(|_| Worker::start()).collect::<Result<_>>()? })
    }

    /// Measures the task of each worker, all concurrently.
    pub(crate) fn measure(
        &mut self,
        time: Duration,
        task: impl Fn(usize) -> Result<Task>,
    ) -> Result<Sample> {
        let job = |index| Ok(Job::Measure { task: task(index)?, time });
        let results = self.run(job)?;
        let samples = results.into_iter().map(|result| match result {
            JobResult::Sample(sample) => Ok(sample),
            other => anyhow::bail!("expected a sample, got {other:?}"),
        });
        Ok(Sample::merged(samples.collect::<Result<Vec<_>>>()?))
    }

    /// Lets each worker hold this many guarded leases of the pool.
    pub(crate) fn hold(&mut self, config: &PortAllocatorConfig, count: usize) -> Result<()> {
        self.run(|_| Ok(Job::Hold { config: config.clone(), count })).map(drop)
    }

    /// Lets each worker bind a socket to each of these ports.
    pub(crate) fn bind(&mut self, range: PortRange) -> Result<()> {
        self.run(|_| Ok(Job::Bind { range })).map(drop)
    }

    /// Kills all workers.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.workers.iter_mut().try_for_each(Worker::kill)
    }

    fn run(&mut self, job: impl Fn(usize) -> Result<Job>) -> Result<Vec<JobResult>> {
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker.send(&job(index)?)?;
        }
        self.workers.iter_mut().map(|worker| worker.receive().context("a worker process")).collect()
    }
}
