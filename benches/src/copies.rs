//! Copies of this program that do as they are told, a line of JSON an order and an answer, and end
//! when nobody tells them anything any more.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use portolan_core::PortRange;
use portolan_port_allocator::{Depth, PortAllocator, PortAllocatorConfig, PortLease};
use serde::{Deserialize, Serialize};

use crate::COPY;
use crate::host::wish;
use crate::raw::{self, Family, Round};
use crate::slice::Slice;
use crate::task::Task;

/// What a copy is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Measure {
        task: Task,
        time: Duration,
    },
    /// Holds so many leases of the pool, no more and no fewer.
    Hold {
        config: PortAllocatorConfig,
        count: usize,
    },
    /// Binds a socket to each port, as a guard is bound.
    Bind {
        range: PortRange,
    },
}

/// What it says when it is done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Slice(Slice),
    Done,
    Failed(String),
}

/// A copy, as seen by who started it.
#[derive(Debug)]
pub(crate) struct Copy {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// A copy, as it sees itself.
#[derive(Debug, Default)]
struct Player {
    /// One session for all that is done with the same settings.
    allocators: Vec<(PortAllocatorConfig, PortAllocator)>,
    held: Vec<PortLease>,
    bound: Vec<OwnedFd>,
}

/// Does what the lines on the standard input say, until it ends.
pub fn play() -> Result<()> {
    let mut player = Player::default();
    for line in stdin().lock().lines() {
        let done = player.obey(serde_json::from_str(&line?)?);
        let answer = done.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
        let mut output = stdout().lock();
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
    }
    Ok(())
}

// === impl Copy ===

impl Copy {
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COPY).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a copy of this program")?;
        let (orders, answers) = (process.stdin.take(), process.stdout.take());
        let answers = BufReader::new(answers.context("no standard output")?);
        Ok(Self { process, orders, answers })
    }

    pub(crate) fn tell(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.as_mut().context("no standard input")?.write_all(&line)?;
        Ok(())
    }

    pub(crate) fn hear(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match serde_json::from_str(&line).context("it ended")? {
            Answer::Failed(why) => Err(anyhow!(why)),
            answer => Ok(answer),
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        drop(self.orders.take());
        _ = self.process.wait();
    }
}

// === impl Player ===

impl Player {
    fn obey(&mut self, order: Order) -> Result<Answer> {
        match order {
            Order::Measure { task, time } => self.measure(task, time).map(Answer::Slice),
            Order::Hold { config, count } => self.hold(&config, count).map(|()| Answer::Done),
            Order::Bind { range } => {
                let bind = |port| raw::bound(Family::Dual, port);
                self.bound = range.ports().map(bind).collect::<Result<_, _>>()?;
                Ok(Answer::Done)
            }
        }
    }

    fn measure(&mut self, task: Task, time: Duration) -> Result<Slice> {
        match task {
            Task::Raw { family, range } => {
                let mut round = Round::new(range);
                Ok(Slice::measure(time, || raw::bound(family, round.next()))?)
            }
            Task::RawSearch { range } => {
                Ok(Slice::measure(time, || raw::first_free(Family::Dual, range))?)
            }
            Task::Lease { config, depth } => {
                // Each process is a service of its own.
                let request = wish(&format!("service-{}", std::process::id()), depth)?;
                let allocator = self.allocator(&config)?;
                Ok(Slice::measure(time, || allocator.request(request.clone()))?)
            }
        }
    }

    fn hold(&mut self, config: &PortAllocatorConfig, count: usize) -> Result<()> {
        let allocator = self.allocator(config)?;
        self.held.truncate(count);
        for index in self.held.len()..count {
            let lease = allocator.request(wish(&format!("held-{index}"), Depth::Guarded)?)?;
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
