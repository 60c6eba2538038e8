//! Worker processes: copies of this program that run jobs from standard input and write the results to
//! standard output, as lines of JSON. They end with their input.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use portolan_core::PortRange;
use portolan_port_allocator::{Depth, PortAllocator, PortAllocatorConfig, PortLease};
use serde::{Deserialize, Serialize};

use crate::WORKER;
use crate::baseline::{self, Family, PortCycle};
use crate::bench_env::request;
use crate::sample::Sample;
use crate::task::Task;

/// A job of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    Measure {
        task: Task,
        time: Duration,
    },
    /// Hold exactly this many leases of the pool.
    Hold {
        config: PortAllocatorConfig,
        count: usize,
    },
    /// Bind a socket to each port, like a guard.
    Bind {
        range: PortRange,
    },
}

/// The result of a job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum JobResult {
    Sample(Sample),
    Done,
    Failed(String),
}

/// The parent's handle to a worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    jobs: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The state in the worker process.
#[derive(Debug, Default)]
struct WorkerState {
    /// One session for all jobs with the same settings.
    allocators: Vec<(PortAllocatorConfig, PortAllocator)>,
    held: Vec<PortLease>,
    bound: Vec<OwnedFd>,
}

/// Runs the jobs from standard input until it ends.
pub fn run_worker() -> Result<()> {
    let mut state = WorkerState::default();
    for line in stdin().lock().lines() {
        let done = state.run(serde_json::from_str(&line?)?);
        let answer = done.unwrap_or_else(|error| JobResult::Failed(format!("{error:#}")));
        let mut output = stdout().lock();
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
    }
    Ok(())
}

// === impl Worker ===

impl Worker {
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORKER).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a worker process")?;
        let (jobs, answers) = (process.stdin.take(), process.stdout.take());
        let answers = BufReader::new(answers.context("no standard output")?);
        Ok(Self { process, jobs, answers })
    }

    pub(crate) fn send(&mut self, job: &Job) -> Result<()> {
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        self.jobs.as_mut().context("no standard input")?.write_all(&line)?;
        Ok(())
    }

    pub(crate) fn receive(&mut self) -> Result<JobResult> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match serde_json::from_str(&line).context("the worker ended")? {
            JobResult::Failed(error) => Err(anyhow!(error)),
            answer => Ok(answer),
        }
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        _ = self.process.wait();
    }
}

// === impl WorkerState ===

impl WorkerState {
    fn run(&mut self, job: Job) -> Result<JobResult> {
        match job {
            Job::Measure { task, time } => self.measure(task, time).map(JobResult::Sample),
            Job::Hold { config, count } => self.hold(&config, count).map(|()| JobResult::Done),
            Job::Bind { range } => {
                let bind = |port| baseline::bound(Family::Dual, port);
                self.bound = range.ports().map(bind).collect::<Result<_, _>>()?;
                Ok(JobResult::Done)
            }
        }
    }

    fn measure(&mut self, task: Task, time: Duration) -> Result<Sample> {
        match task {
            Task::Baseline { family, range } => {
                let mut cycle = PortCycle::new(range);
                Ok(Sample::measure(time, || baseline::bound(family, cycle.next()))?)
            }
            Task::BaselineSearch { range } => {
                Ok(Sample::measure(time, || baseline::first_free(Family::Dual, range))?)
            }
            Task::Lease { config, depth } => {
                // Each process is its own service.
                let request = request(&format!("service-{}", std::process::id()), depth)?;
                let allocator = self.allocator(&config)?;
                Ok(Sample::measure(time, || allocator.request(request.clone()))?)
            }
        }
    }

    fn hold(&mut self, config: &PortAllocatorConfig, count: usize) -> Result<()> {
        let allocator = self.allocator(config)?;
        self.held.truncate(count);
        for index in self.held.len()..count {
            let lease = allocator.request(request(&format!("held-{index}"), Depth::Guarded)?)?;
            self.held.push(lease);
        }
        Ok(())
    }

    fn allocator(&mut self, config: &PortAllocatorConfig) -> Result<PortAllocator> {
        if let Some((_, open)) = self.allocators.iter().find(|(known, _)| known == config) {
            return Ok(open.clone());
        }
        let allocator = PortAllocator::new(config.clone())?;
        self.allocators.push((config.clone(), allocator.clone()));
        Ok(allocator)
    }
}
