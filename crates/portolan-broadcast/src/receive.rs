//! The receive loops of the sockets. A receive error is counted and retried.

mod load;
mod thread;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use portolan_core::Backoff;
use portolan_metrics::BroadcastErrorKind;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;

use crate::link::{Ingress, Source};
use crate::node::Node;
use crate::transport::Receiver;

use load::Load;
pub(crate) use thread::{ReceiveRuntime, ReceiveThread};

/// The wait after a failed receive, so that a broken socket does not use a whole processor.
const FIRST_RETRY: Duration = Duration::from_millis(10);
/// The longest such wait.
const MAX_RETRY: Duration = Duration::from_secs(1);

/// The receivers of a node.
#[derive(Debug)]
pub(crate) struct Receivers {
    pub(crate) node: Arc<Node>,
    /// The receivers of the multicast channels, with the index of their link.
    pub(crate) channels: Vec<(usize, Box<dyn Receiver>)>,
    /// `broadcast.max_datagram`.
    pub(crate) max_datagram: usize,
}

/// How a loop pauses.
#[derive(Debug, Clone, Copy)]
enum Pause {
    /// The task sleeps.
    Task,
    /// The thread sleeps, and with it the loops of the other sockets. Were it to wait for its runtime, each datagram would
    /// wake it.
    Thread,
}

struct ReceiveLoop<'a> {
    node: &'a Node,
    from: Source,
    buffer: Vec<u8>,
    backoff: Backoff,
    load: Load,
}

// === impl Receivers ===

impl Receivers {
    /// Spawns the loops as tasks of the current runtime.
    pub(crate) fn spawn(self, tasks: &mut JoinSet<()>) {
        self.spawn_pausing(tasks, Pause::Task);
    }

    /// Runs the loops until the node stops.
    pub(crate) async fn run_on_own_thread(self) {
        let stopped = self.node.stopped.clone();
        let mut tasks = JoinSet::new();
        self.spawn_pausing(&mut tasks, Pause::Thread);
        stopped.cancelled().await;
    }

    fn spawn_pausing(self, tasks: &mut JoinSet<()>, pause: Pause) {
        let Self { node, channels, max_datagram } = self;
        for link in 0..node.links.len() {
            let (node, from) = (Arc::clone(&node), Source { link, ingress: Ingress::Own });
            tasks.spawn(async move {
                let receiver = &*node.links[link].socket;
                ReceiveLoop::new(&node, from, max_datagram).run(receiver, pause).await;
            });
        }
        for (link, receiver) in channels {
            let (node, from) = (Arc::clone(&node), Source { link, ingress: Ingress::Channel });
            tasks.spawn(async move {
                ReceiveLoop::new(&node, from, max_datagram).run(&*receiver, pause).await;
            });
        }
    }
}

// === impl Pause ===

impl Pause {
    async fn take(self, pause: Duration) {
        match self {
            Self::Task => tokio::time::sleep(pause).await,
            Self::Thread => std::thread::sleep(pause),
        }
    }
}

// === impl ReceiveLoop ===

impl<'a> ReceiveLoop<'a> {
    fn new(node: &'a Node, from: Source, max_datagram: usize) -> Self {
        // One byte more than the limit: a datagram that fills the buffer is too large.
        let buffer = vec![0; max_datagram + 1];
        let backoff = Backoff::new(FIRST_RETRY, MAX_RETRY);
        Self { node, from, buffer, backoff, load: Load::new(Instant::now()) }
    }

    async fn run<R: Receiver + ?Sized>(mut self, receiver: &R, pause: Pause) {
        loop {
            let received = receiver.receive(&mut self.buffer).await;
            match self.burst(received, receiver) {
                Ok(()) => match self.load.pause() {
                    Some(time) => pause.take(time).await,
                    None => tokio::task::yield_now().await,
                },
                Err(error) => {
                    self.node.metrics.broadcast_error(BroadcastErrorKind::Receive);
                    debug!(%error, from = ?self.from, "Receive failed, retrying");
                    tokio::time::sleep(self.backoff.next_wait()).await;
                }
            }
        }
    }

    /// Processes a datagram, and those that have arrived with it, until the time of a burst is over.
    fn burst<R: Receiver + ?Sized>(
        &mut self,
        first: io::Result<(usize, SocketAddr)>,
        receiver: &R,
    ) -> io::Result<()> {
        self.load.begin(Instant::now());
        let mut next = Some(first);
        while let Some(received) = next {
            let (size, source) = received?;
            self.backoff.reset();
            let accepted = self.node.receive(&self.buffer[..size], source, self.from);
            let now = Instant::now();
            self.load.record(accepted, now);
            if self.load.is_spent(now) {
                break;
            }
            next = receiver.receive(&mut self.buffer).now_or_never();
        }
        Ok(())
    }
}
