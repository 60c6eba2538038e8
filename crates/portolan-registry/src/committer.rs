//! The commit task: takes requests from the queue and commits them to the store, several at a time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Span, warn};

use crate::schedule::{Schedule, Ticket};
use crate::store::{Receipt, Store};
use crate::{Command, CommandOrigin, CommandOutcome, Recorder, RegistryError};

/// How many commits run at the same time: 64 commits of 3 ms are 21,000 a second.
const CONCURRENT_COMMITS: usize = 64;
/// How many requests are taken from the queue and not finished. A request beyond it waits in the
/// queue, and its caller if that is full too.
const SCHEDULED: usize = 1024;
/// How long a commit may take before it counts as failed.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long before the caller's deadline a commit counts as failed, so that the caller learns why.
const REPLY: Duration = Duration::from_millis(250);
/// How long the commits that were requested before the shutdown may take.
const DRAIN: Duration = Duration::from_millis(400);

/// Commits requests in order for each id.
#[derive(Debug)]
pub(crate) struct Committer {
    store: Arc<dyn Store>,
    queue: mpsc::Receiver<Request>,
    schedule: Schedule<Request>,
    running: FuturesUnordered<BoxFuture<'static, (Ticket, u64)>>,
    recorder: Recorder,
    /// The greatest index of all receipts.
    index: u64,
}

/// Commands to be committed.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) commands: Vec<Command>,
    pub(crate) origin: CommandOrigin,
    /// The span of the caller, for the audit log.
    pub(crate) span: Span,
    /// When the caller stops waiting. A commit is not begun after it.
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Receipt>,
}

// === impl Committer ===

impl Committer {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        queue: mpsc::Receiver<Request>,
        recorder: Recorder,
    ) -> Self {
        let (schedule, running) = (Schedule::new(), FuturesUnordered::new());
        Self { store, queue, schedule, running, recorder, index: 0 }
    }

    /// Commits until the shutdown, or until every handle is dropped, then drains for a bounded time.
    /// Returns the index that the view must reach to show everything that was committed.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> u64 {
        let mut shutdown = pin!(shutdown);
        let open = async {
            tokio::select! {
                biased;
                () = &mut shutdown => {}
                () = self.commit_all() => {}
            }
        };
        open.await;
        self.queue.close();
        if timeout(DRAIN, self.commit_all()).await.is_err() {
            warn!(unfinished = self.schedule.len(), "Commits cut off by the shutdown");
        }
        self.index
    }

    /// Commits until the queue is closed and everything in it is committed. Cancel-safe.
    async fn commit_all(&mut self) {
        let mut open = true;
        while open || self.schedule.len() > 0 {
            tokio::select! {
                Some((ticket, index)) = self.running.next() => {
                    self.schedule.finish(ticket);
                    self.index = self.index.max(index);
                }
                request = self.queue.recv(), if open && self.schedule.len() < SCHEDULED => {
                    match request {
                        Some(request) => self.schedule(request),
                        None => open = false,
                    }
                }
            }
            while self.running.len() < CONCURRENT_COMMITS
                && let Some((ticket, request)) = self.schedule.start()
            {
                let committed = commit(Arc::clone(&self.store), request, self.recorder.clone());
                self.running.push(Box::pin(async move { (ticket, committed.await) }));
            }
        }
    }

    fn schedule(&mut self, request: Request) {
        self.schedule.push(request.commands.iter().map(Command::id).collect(), request);
    }
}

/// Commits a request, records what it changed and replies. Returns the receipt's index.
async fn commit(store: Arc<dyn Store>, request: Request, recorder: Recorder) -> u64 {
    let Request { commands, origin, span, deadline, reply } = request;
    if deadline <= Instant::now() {
        return 0;
    }
    let start = Instant::now();
    let before: Vec<_> = commands.iter().map(|command| recorder.before(command)).collect();
    let limit = (start + COMMIT_TIMEOUT).min(deadline - REPLY);
    let receipt = timeout_at(limit, store.commit(&commands, &origin)).await;
    let receipt = receipt.unwrap_or_else(|_| {
        let reason = format!("no answer within {:.1} s", (limit - start).as_secs_f64());
        let error = RegistryError::Unavailable { store: store.name(), reason };
        Receipt { outcomes: vec![Err(error); commands.len()], index: 0 }
    });
    span.in_scope(|| {
        for ((command, before), outcome) in commands.iter().zip(&before).zip(&receipt.outcomes) {
            match outcome {
                Ok(CommandOutcome::Deregistered { endpoint, revision })
                    if matches!(command, Command::Vanish(..)) =>
                {
                    recorder.vanished(endpoint, *revision);
                }
                Ok(outcome) => recorder.requested(outcome, &origin, before.as_deref()),
                Err(error) => recorder.refused(command, error, &origin),
            }
        }
    });
    let index = receipt.index;
    // The caller may have stopped waiting.
    _ = reply.send(receipt);
    index
}
